"""Configs of EasyRec: every model class imports, checks and trains; what differs is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from graphrec.cli import main
from graphrec.compiler.pipeline import check_recipe
from graphrec.ground.errors import RecipeError
from graphrec.importers.configs import import_config
from graphrec.importers.tzrec import Imported

sys.path.insert(0, str(Path(__file__).parent))
from easyrec_configs import MODELS, config


def imported(tmp_path: Path, text: str) -> tuple[Imported, Path]:
    """The import of a config whose recipe holds, and the recipe as a file."""
    source, recipe = tmp_path / "model.config", tmp_path / "model.yaml"
    source.write_text(text, encoding="utf-8")
    found = import_config(source)
    recipe.write_text(found.text, encoding="utf-8")
    for name, lines in found.files.items():
        (tmp_path / name).write_text(lines, encoding="utf-8")
    errors = [p.message for p in check_recipe(recipe).errors]
    assert not errors, found.text
    return found, recipe


def graph(found: Imported) -> str:
    """The nodes and tasks of a recipe."""
    return found.text[found.text.index("graph:\n") : found.text.index("\ntrain:") + 1]


@pytest.mark.parametrize("model", MODELS)
def test_a_model_class_imports_and_trains(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found, _ = imported(tmp_path, config(model))
    assert "# Imported from model.config (EasyRec)." in found.text
    few = ["-o", "data.synthetic=400", "-o", "train.batch=50", "-o", "train.dir=run"]
    assert main(["train", "model.yaml", "--quiet", *few]) == 0


GRAPHS = {
    "DCN": """\
graph:
  cross: {block: cross, in: {x0: all, x: all}, repeat: 2, carry: x}
  deep:  {block: mlp, in: all, hidden: [16], norm: batch}
  final: {block: mlp, in: [cross, deep], hidden: [8], norm: batch}
tasks:
  clk: {label: clk, in: final, metrics: [auc]}
""",
    "MultiTowerDIN": """\
graph:
  user_tower: {block: mlp, in: user, hidden: [16, 8], norm: batch}
  din_din:    {block: din, in: din, hidden: [16, 8], norm: batch}
  final:      {block: mlp, in: [user_tower, din_query, din_din], hidden: [8], norm: batch}
tasks:
  clk: {label: clk, in: final, metrics: [auc]}
""",
    "ESMM": """\
graph:
  user_tower: {block: mlp, in: user, hidden: [16, 8], norm: batch}
  item_tower: {block: mlp, in: item, hidden: [16, 8], norm: batch}
  tower:      {block: mlp, in: [user_tower, item_tower], each: tasks, hidden: [8], norm: batch}
tasks:
  ctr:   {label: clk, in: tower, metrics: [auc]}
  cvr:   {in: tower, loss: none}
  ctcvr: {label: buy, prob: ctr.prob * cvr.prob, metrics: [auc]}
""",
    "FM": """\
graph:
  fm: {block: fm, in: all.fields}
tasks:
  clk: {label: clk, logit: all.linear + sum(fm), metrics: [auc]}
""",
    "AutoInt": """\
graph:
  interaction: {block: self_attention, in: all.fields, width: 8, heads: 2, skip: true, pool: none,
      repeat: 2, carry: keys}
  crosses:     relu(reshape(interaction, [56]))
tasks:
  clk: {label: clk, in: crosses, metrics: [auc]}
""",
}


@pytest.mark.parametrize("model", GRAPHS)
def test_what_a_model_becomes(model: str, tmp_path: Path) -> None:
    assert graph(imported(tmp_path, config(model))[0]) == GRAPHS[model]


def test_features_by_type(tmp_path: Path) -> None:
    text = imported(tmp_path, config("DBMTL"))[0].text
    for family in (
        "{type: id, names: user_id, vocab: hash(500)}",
        "{type: bucket, names: price, edges: [1, 2.5]}",
        "{type: dense, names: n1, transform: minmax, stats: [0, 10]}",
        "{type: dense, names: n2}",
        '{type: id, names: tags, vocab: hash(50), pool: mean, sep: "|"}',
        "{type: cross, name: both, of: [user_id, cate], vocab: hash(100)}",
    ):
        assert family.partition(", names")[0] in text
    assert 'pool: mean, sep: "|"' in text and "of: [user_id, cate]" in text
    folded = " ".join(text.split())
    assert 'column: {item_id: seen, cate: seen_cates}, sep: "|"' in folded


@pytest.mark.parametrize(
    ("feature", "written"),
    [
        ('features: { input_names: ["f", "w"] feature_type: TagFeature embedding_dim: 8 hash_bucket_size: 9 }', "weights: w"),
        ('features: { input_names: "f" feature_type: RawFeature embedding_dim: 8 }', "{type: dense, names: f, dim: 8}"),
        ('features: { input_names: "f" feature_type: RawFeature raw_input_dim: 3 separator: ";" }', '{type: dense, names: f, width: 3, sep: ";"}'),
        ('features: { input_names: "f" feature_type: IdFeature embedding_dim: 8 vocab_list: ["a", "b"] }', "f: file(f.vocab.txt)"),
        ('features: { input_names: "g" shared_names: "f" feature_type: IdFeature embedding_dim: 8 hash_bucket_size: 7 }', "f: hash(7)"),
    ],
)  # fmt: skip
def test_a_feature(feature: str, written: str, tmp_path: Path) -> None:
    text = config("MultiTower", features=feature)
    text = text.replace('feature_names: "user_id"', 'feature_names: "user_id" feature_names: "f"')
    assert written in imported(tmp_path, text)[0].text


def test_ranges_of_names_are_written_out(tmp_path: Path) -> None:
    text = config("DeepFM").replace("with_header: true", "auto_expand_input_fields: true")
    text = text.replace(
        'input_fields { input_name: "age" }', 'input_fields { input_name: "age[1-3]" }'
    )
    text = text.replace('input_names: "age"', 'input_names: "age1" shared_names: "age[2-3]"')
    text = text.replace('feature_names: "age"', 'feature_names: "age[1-3]"')
    found = imported(tmp_path, text)[0]
    assert (
        "age1..age3: 9" in found.text
        and "columns: [clk, buy, user_id, age1, age2, age3" in " ".join(found.text.split())
    )


def test_fields_of_another_width_are_not_crossed_and_that_is_told(tmp_path: Path) -> None:
    text = config("DeepFM").replace(
        "embedding_dim: 8 num_buckets: 9", "embedding_dim: 4 num_buckets: 9"
    )
    found = imported(tmp_path, text)[0]
    assert any(
        "fm needs features of one width: of width 8, without age" in p.message
        for p in found.problems
    )
    assert "in: fm_fields.fields" in found.text


def test_training(tmp_path: Path) -> None:
    found = imported(tmp_path, config("DCN"))[0]
    train = " ".join(found.text[found.text.index("train: {") :].split())
    assert train == (
        "train: {steps: 5, batch: 64, lr: {dense: 0.001, sparse: 0.001}, optim: {sparse: adam}, "
        "schedule: {kind: exponential, gamma: 0.5, every: 1000, staircase: true, minimum: 0.01}}"
    )
    momentum = config("DCN").replace("adam_optimizer", "momentum_optimizer")
    found = imported(tmp_path, momentum)[0]
    assert "optim: {dense: {sgd: {momentum: 0.9}}, sparse: sgd}" in " ".join(found.text.split())


def test_nothing_is_lost_without_a_word(tmp_path: Path) -> None:
    text = config("MMoE", more="embedding_regularization: 5e-6")
    text = text.replace("num_steps: 5", "num_steps: 5 sync_replicas: true")
    text = text.replace("num_expert: 4", "num_expert: 4 l2_regularization: 1e-6")
    told = {p.message for p in imported(tmp_path, text)[0].problems}
    assert {
        "train_config.sync_replicas: true has no counterpart",
        "model_config.mmoe.l2_regularization: 1e-06 has no counterpart",
        "model_config.embedding_regularization: 5e-06 has no counterpart",
    } <= told


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('model_class: "DCN"', 'model_class: "DSSM"', "model_class DSSM has no counterpart"),
        ('model_class: "DCN"', 'model_class: "RankModel" backbone { }', "model_class RankModel with a backbone has no counterpart"),
        ("feature_type: TagFeature", "feature_type: MatchFeature", "feature_type MatchFeature of `tags` has no counterpart"),
        ("hidden_units: [16]", "hidden_units: [16] activation: 'tf.nn.nonesuch'", "model_config.dcn.deep_tower.mlp.activation: tf.nn.nonesuch has no counterpart"),
    ],
)  # fmt: skip
def test_what_can_not_be_imported(old: str, new: str, message: str, tmp_path: Path) -> None:
    source = tmp_path / "model.config"
    source.write_text(config("DCN").replace(old, new), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        import_config(source)
    assert caught.value.problems[0].message == message and caught.value.problems[0].help


def test_weights_inside_the_values(tmp_path: Path) -> None:
    text = config("MultiTower").replace("separator: '|'", "separator: '|' kv_separator: ':'")
    text = text.replace(
        'feature_names: "user_id"', 'feature_names: "user_id" feature_names: "tags"'
    )
    found = imported(tmp_path, text)[0]
    assert 'pool: mean, sep: "|", weights: inside}' in " ".join(found.text.split())
