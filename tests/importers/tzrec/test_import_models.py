"""Every model imports to a recipe that holds, says what it should, and trains."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from graphrec.cli import main
from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.ground.errors import RecipeError
from graphrec.importers.configs import import_config
from graphrec.importers.tzrec import Imported
from graphrec.importers.tzrec.match_models import MATCH_MODELS
from graphrec.importers.tzrec.multitask_models import MULTITASK_MODELS
from graphrec.importers.tzrec.rank_models import RANK_MODELS

sys.path.insert(0, str(Path(__file__).parent))
from importer_configs import DATA, MODELS, config


def imported(tmp_path: Path, text: str) -> tuple[Imported, Path]:
    """The import of a config, and its recipe as a file."""
    source, recipe = tmp_path / "model.config", tmp_path / "model.yaml"
    source.write_text(text, encoding="utf-8")
    made = import_config(source)
    recipe.write_text(made.text, encoding="utf-8")
    return made, recipe


def section(text: str, name: str) -> str:
    """One section of a recipe, without its head."""
    lines = text.splitlines()
    start = lines.index(f"{name}:") + 1
    inner = []
    for line in lines[start:]:
        if not line.startswith(" "):
            break
        inner.append(line[2:])
    return "\n".join(inner)


def test_rocket_launching_is_taught(tmp_path: Path) -> None:
    """Hint and features, the booster in training alone, the shared layers out of the light's reach."""
    made, recipe = imported(tmp_path, config("rocket_launching"))
    assert "distillation" not in made.text
    graph = check_recipe(recipe, purpose="inference").graph
    assert graph is not None
    assert [o.task for o in graph.outputs] == ["light"]
    assert not any("booster" in name for name in graph.order())
    terms = section(made.text, "losses")
    assert "block: hint" in terms
    assert '"-cos(light_net.hidden0, stop(booster_net.hidden0))", weight: 0.1' in terms
    assert "stop(" in section(made.text, "graph")


RETRIEVAL = """\
query:      user_tower
item:       item_tower
similarity: cosine
candidates: {from: items.parquet, key: item_id, sample: 0, in_batch: true}
loss:       {sampled_softmax: {temperature: 0.1, logq: false}}
metrics:    [recall(5)]"""
SAMPLER = (
    'input_path: "ads.csv" num_sample: 32 attr_fields: "item_id" attr_fields: "cate" '
    'item_id_field: "item_id" attr_delimiter: ","'
)
HARD = (
    'user_input_path: "u" item_input_path: "ads.csv" hard_neg_edge_input_path: "edges.csv" '
    'num_sample: 32 num_hard_sample: 4 item_id_field: "item_id" user_id_field: "user_id"'
)


def test_dssm_retrieves(tmp_path: Path) -> None:
    """Two sides that never meet; v1 has tables of its own in each tower, v2 shares them."""
    made, recipe = imported(tmp_path, config("dssm"))
    assert section(made.text, "retrieval") == RETRIEVAL
    assert "click_seq, of: [item_id, cate]" in made.text and "share: false" in made.text
    code = compile_recipe(recipe).source.text
    assert "def encode_query" in code and "def encode_item" in code
    shared, _ = imported(tmp_path, config("dssm_v2"))
    assert "share: false" not in shared.text
    assert "similarity: dot" in shared.text and "in_batch: true" in shared.text


def test_gates_of_mmoe_drop(tmp_path: Path) -> None:
    text = config("mmoe").replace(
        "gate_mlp { hidden_units: 4 }", "gate_mlp { hidden_units: 4 dropout_ratio: 0.2 }"
    )
    made, _ = imported(tmp_path, text)
    assert "gate_hidden: [4]" in made.text and "gate_dropout: 0.2" in made.text
    assert "dropout" not in "".join(p.message for p in made.problems)


def test_mind_has_several_interests(tmp_path: Path) -> None:
    made, _ = imported(tmp_path, config("mind"))
    assert (
        section(made.text, "graph")
        == """\
user_mlp:   {block: mlp, in: user, hidden: [16]}
user_out:   {block: linear, in: user_mlp, out: 8}
steps_mlp:  {block: mlp, in: click_seq, hidden: [16]}
steps_out:  {block: linear, in: steps_mlp, out: 8, bias: false}
several:    {block: interests, in: steps_out, number: 3, width: 6, iterations: 2, places: 20}
joined:     concat(several, spread(user_out, several))
interests:  {block: mlp, in: joined, hidden: [8]}
user_tower: {block: linear, in: interests, out: 4, bias: false}
item_tower: {block: mlp, in: item, hidden: [16, 8], out: 4}"""
    )
    assert "{sampled_softmax: {temperature: 0.01, logq: false, power: 20}}" in made.text
    assert "similarity: cosine" in made.text and "share: false" in made.text


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        (
            "negative_sampler",
            SAMPLER,
            "{from: ads.csv, key: item_id, sample: 32, by: weight, in_batch: false}",
        ),
        (
            "hard_negative_sampler",
            HARD,
            "{from: ads.csv, key: item_id, sample: 32, by: weight, in_batch: false, "
            "hard: edges.csv, hard_by: user_id, hard_sample: 4}",
        ),
    ],
)
def test_samplers_of_dssm(kind: str, settings: str, expected: str, tmp_path: Path) -> None:
    data = DATA.replace('label_fields: "buy"', f"{kind} {{ {settings} }}")
    made, recipe = imported(tmp_path, config("dssm", data=data))
    assert expected in " ".join(section(made.text, "retrieval").split())
    assert not [p for p in made.problems if "sampler." in p.message]
    assert not [p for p in check_recipe(recipe).problems if p.severity == "error"]


def test_a_feature_of_both_towers_of_dssm_is_refused(tmp_path: Path) -> None:
    text = config("dssm").replace('feature_names: "price"', 'feature_names: "age"')
    with pytest.raises(RecipeError, match="both towers read feature `age`"):
        imported(tmp_path, text)


def test_dssm_draws_by_the_weights_of_its_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = DATA.replace('label_fields: "buy"', f"negative_sampler {{ {SAMPLER} }}")
    imported(tmp_path, config("dssm", data=data))
    words = ["train", "model.yaml", "--quiet", "-o", "data.synthetic=200"]
    assert main([*words, "-o", "train.epochs=null", "-o", "train.steps=2"]) == 0


def test_every_model_has_a_config() -> None:
    known = (
        {*RANK_MODELS, *MULTITASK_MODELS, *MATCH_MODELS}
        - {"dcn", "multi_tower_din_trt"}
        - {"autoint", "esmm", "fm"}
    )
    assert known <= set(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_a_model_imports_and_passes_check(model: str, tmp_path: Path) -> None:
    made, recipe = imported(tmp_path, config(model))
    assert made.text.startswith("# yaml-language-server: $schema=recipe.schema.json\n")
    checked = check_recipe(recipe)
    assert not [str(p) for p in checked.problems if p.code != "GR602"]
    assert checked.graph is not None


GRAPHS = {
    "deepfm": """\
fm:    {block: fm, in: wide.fields}
deep:  {block: mlp, in: all, hidden: [16, 8]}
final: {block: mlp, in: [wide.linear, fm, deep], hidden: [8]}""",
    "deepfm_sum": """\
fm:   {block: fm, in: all.fields}
deep: {block: mlp, in: all, hidden: [16, 8], out: 1}""",
    "multi_tower_din": """\
deep:    {block: mlp, in: all, hidden: [16, 8]}
seq_din: {block: din, in: seq, hidden: [16, 8]}
final:   {block: mlp, in: [deep, seq_din], hidden: [8]}""",
    "dcn_v2": """\
bottom: {block: mlp, in: all, hidden: [12]}
cross:  {block: cross_v2, in: {x0: bottom, x: bottom}, repeat: 2, carry: x, rank: 4}
deep:   {block: mlp, in: all, hidden: [16, 8]}
final:  {block: mlp, in: [cross, deep], hidden: [8]}""",
    "dlrm": """\
bottom:      {block: mlp, in: dense, hidden: [16, 8]}
fields:      reshape(concat(bottom, sparse), [6, 8])
interaction: {block: dot_interaction, in: fields}
final:       {block: mlp, in: [interaction, bottom, sparse], hidden: [8]}""",
    "mmoe": """\
experts: {block: mmoe, in: all, gates: tasks, experts: 3, hidden: [16, 8], gate_hidden: [4]}
tower:   {block: mlp, in: experts, each: tasks, hidden: [8]}""",
    "ple": """\
experts: {block: ple, in: all, gates: tasks, levels: 2, private: [2, 3], shared: [2, 3],
    hidden: [[16, 8], [8, 6]]}
tower:   {block: mlp, in: experts, each: tasks, hidden: [8]}""",
    "pepnet": """\
scaled:   {block: epnet, in: {x: all, domain: domain}, hidden: 8}
personal: {block: ppnet, in: {x: scaled, domain: uia}, each: tasks, hidden: [16, 8],
    gate_hidden: 16, dropout: 0.1}
tower:    {block: mlp, in: personal, each: tasks, hidden: [8]}""",
}


@pytest.mark.parametrize("model", GRAPHS)
def test_the_graph_is_what_a_person_would_write(model: str, tmp_path: Path) -> None:
    made, _ = imported(tmp_path, config(model))
    assert section(made.text, "graph") == GRAPHS[model]


def test_a_whole_recipe(tmp_path: Path) -> None:
    made, _ = imported(tmp_path, config("dbmtl"))
    assert (
        section(made.text, "features")
        == """\
- {type: id, side: user, names: {user_id: 500, age: 9}}
- {type: id, side: item, names: {item_id: 300, cate: 20}}
- {type: bucket, side: item, names: price, edges: [1, 2.5]}
- {type: dense, side: user, names: [n1, n2]}
- {type: sequence, side: user, name: click_seq, of: [item_id, cate], max_len: 20, sep: "|"}"""
    )
    assert (
        section(made.text, "tasks")
        == """\
ctr: {label: clk, in: tower, metrics: [auc]}
cvr: {label: buy, in: tower, space: clk, metrics: [auc]}"""
    )
    assert section(made.text, "relations") == "- ctr -> cvr: {hidden: [4]}"
    assert not made.problems


def test_xdeepfm_has_wide_tables_of_its_own(tmp_path: Path) -> None:
    made, recipe = imported(tmp_path, config("xdeepfm"))
    assert "names: wide_cate, column: cate, vocab: 20, dim: 4}" in made.text
    graph = check_recipe(recipe).graph
    assert graph is not None
    assert {table.dim for table in graph.tables if table.name.startswith("wide_")} == {4}


def test_towers_that_differ_are_nodes_of_their_own(tmp_path: Path) -> None:
    text = MODELS["mmoe"].replace("mlp { hidden_units: [8] }", "mlp { hidden_units: [6, 4] }", 1)
    made, recipe = imported(tmp_path, config(text))
    assert "ctr_tower: {block: mlp, in: experts.ctr, hidden: [6, 4]}" in made.text
    assert "cvr_tower: {block: mlp, in: experts.cvr, hidden: [8]}" in made.text
    assert not check_recipe(recipe).errors


@pytest.mark.parametrize("model", ["dbmtl", "xdeepfm"])
def test_a_recipe_trains_on_generated_rows(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    imported(tmp_path, config(model))
    words = ["train", "model.yaml", "--quiet", "-o", "data.synthetic=200"]
    assert main([*words, "-o", "train.epochs=null", "-o", "train.steps=2"]) == 0


def test_ids_of_several_values_train_in_histories_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `value_dim` every id may hold several, and so may a step that shares its table."""
    monkeypatch.chdir(tmp_path)
    made, _ = imported(tmp_path, config("multi_tower_din").replace(" value_dim: 1", ""))
    assert made.text.count('pool: sum, sep: "\\x1d"') == 2
    words = ["train", "model.yaml", "--quiet", "-o", "data.synthetic=200"]
    assert main([*words, "-o", "train.epochs=null", "-o", "train.steps=2"]) == 0
