"""Whole recipes: the three of the specification, order, canonical form, hashes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from graphrec.blocks.base import RESERVED
from graphrec.ground.errors import RecipeError, render
from graphrec.recipe import Reading, canonical, parse, read_recipe, recipe_hash
from graphrec.recipe.composites import ordered
from graphrec.recipe.model import NODE_WORDS, IdFeature, NodeSpec, Recipe, SequenceFeature
from graphrec.recipe.reader import read_yaml

Read = Callable[..., Reading]
Texts = Mapping[str, str]
each_recipe = pytest.mark.parametrize("name", ["deepfm", "dbmtl", "din", "everything"])


def whole(reading: Reading) -> Recipe:
    assert not reading.problems, render(reading.problems, reading.sources)
    assert not reading.broken
    assert reading.recipe is not None
    return reading.recipe


def test_deepfm(read: Read, texts: Texts) -> None:
    recipe = whole(read(texts["deepfm"]))
    assert len(recipe.features) == 39
    assert list(recipe.features) == sorted(recipe.features)
    c26, deep = recipe.features["C26"], recipe.graph["deep"]
    assert isinstance(c26, IdFeature)
    assert (str(c26.vocab), c26.dim, c26.column) == ("hash(1000000)", 16, None)
    assert isinstance(deep, NodeSpec)
    assert (deep.block, deep.inputs, deep.params) == ("mlp", "all", {"hidden": [512, 256, 128]})
    task = recipe.tasks["ctr"]
    assert task.label is not None
    assert (task.label.column, task.inputs, task.kind) == ("label", "final", "binary")
    assert list(task.loss) == ["bce"]
    assert [str(m) for m in task.metrics] == ["auc", "logloss"]
    assert (recipe.train.lr.dense, recipe.train.sparse_rate) == (1e-3, 0.02)
    assert recipe.data.train == (os.path.abspath("criteo/train/*.parquet"),)


def test_dbmtl(read: Read, texts: Texts) -> None:
    recipe = whole(read(texts["dbmtl"]))
    assert len(recipe.features) == 16
    assert recipe.features["pid"].group == "context"
    assert {f.dim for f in recipe.features.values() if f.type != "sequence"} == {16}
    experts = recipe.graph["experts"]
    assert isinstance(experts, NodeSpec)
    assert experts.kernel == "triton"
    assert set(experts.params) == {"gates", "experts", "hidden"}
    [relation] = recipe.relations
    assert (relation.parents, relation.child, relation.hidden) == (("ctr",), "cvr", (64,))
    assert recipe.tasks["cvr"].space is not None
    assert recipe.tasks["cvr"].space.label == "clk"
    assert (recipe.train.optim.dense.name, recipe.train.optim.sparse.name) == ("adam", "adagrad")


def test_multi_tower_din(read: Read, texts: Texts) -> None:
    recipe = whole(read(texts["din"]))
    click = recipe.features["click_50"]
    assert isinstance(click, SequenceFeature)
    assert click.of == ("adgroup_id", "cate_id", "brand")
    assert recipe.groups["seq"].model_dump()["keys"] == "click_50"


def test_places(read: Read, texts: Texts) -> None:
    recipe = whole(read(texts["dbmtl"]))
    origin = recipe.origin
    assert origin is not None
    assert str(origin.value("graph.tower.in")) == "r.yaml:7:29"
    assert str(origin.key("graph.tower.each")) == "r.yaml:7:38"
    assert str(origin.key("features.brand")) == "taobao_base.yaml:12:31"
    assert str(origin.value("features.price.dim")) == "taobao_base.yaml:3:27"
    assert str(origin.value("tasks.ctr.label")) == "r.yaml:9:16"
    assert str(origin.value("tasks.ctr.label.column")) == "r.yaml:9:16"
    assert str(origin.key("relations.0")) == "r.yaml:12:5"
    assert str(origin.value("relations.0.parents.0")) == "r.yaml:12:5"
    assert str(origin.value("train.batch")) == "taobao_base.yaml:15:27"
    assert origin.title == "r.yaml"
    assert set(origin.sources) == {"r.yaml", "taobao_base.yaml"}


# ---- order, canonical form, hash --------------------------------------------------------------


def reversed_maps(value: object) -> object:
    if isinstance(value, dict):
        return {k: reversed_maps(v) for k, v in reversed(list(value.items()))}
    return [reversed_maps(v) for v in value] if isinstance(value, list) else value


def turned(text: str) -> str:
    """The recipe with every map reversed, as JSON (which is YAML)."""
    tree, problems = read_yaml(text, "r.yaml")
    assert tree is not None and not problems
    return json.dumps(reversed_maps(tree.plain()), indent=1)


@each_recipe
def test_order_of_maps_changes_nothing(name: str, read: Read, texts: Texts) -> None:
    recipe = whole(read(texts[name]))
    again = whole(read(turned(texts[name]), taobao_base=turned(texts["taobao_base"])))
    # nodes stand as they were written: generated code is read beside the recipe
    assert sorted(canonical(again).splitlines()) == sorted(canonical(recipe).splitlines())
    assert recipe_hash(again) == recipe_hash(recipe)


def test_order_of_families_and_relations_changes_nothing(read: Read, texts: Texts) -> None:
    head = "graphrec: 1\ngraph: {}\ntasks: {a: {label: l, in: all}, b: {label: m, in: all}}\n"
    families = ["{type: id, names: [x, y], vocab: 3, dim: 2}", "{type: dense, names: z}"]
    relations = ["a -> c", "b -> c", "c -> d"]
    texts = []
    for step in (1, -1):
        text = head + "features:\n" + "".join(f"  - {f}\n" for f in families[::step])
        text += "relations:\n" + "".join(f"  - {r}\n" for r in relations[::step])
        texts.append(canonical(whole(read(text))))
    assert texts[0] == texts[1]
    assert "- a + b -> c\n  - c -> d" in texts[0]


@each_recipe
def test_canonical_is_read_as_the_same_recipe(name: str, read: Read, texts: Texts) -> None:
    recipe = whole(read(texts[name]))
    text = canonical(recipe)
    again = whole(read(text))
    assert again.model_dump() == recipe.model_dump()
    assert canonical(again) == text
    assert recipe_hash(again) == recipe_hash(recipe)
    commented = whole(read(canonical(recipe, origin=True)))
    assert commented.model_dump() == recipe.model_dump()


def test_origin_comments(read: Read, texts: Texts) -> None:
    reading = read(texts["dbmtl"], "features.price.dim=8")
    lines = canonical(whole(reading), origin=True).splitlines()
    price = lines.index("    names: price  # taobao_base.yaml:13")
    assert "    dim: 8  # -o #1" in lines[price:]
    assert "  batch: 8192  # taobao_base.yaml:15" in lines
    assert "  accumulate: 1  # default" in lines
    assert "      hidden: [64]  # r.yaml:12" in lines


def test_the_hash_follows_what_is_said(read: Read, tmp_path: Path, texts: Texts) -> None:
    first = recipe_hash(whole(read(texts["deepfm"])))
    assert recipe_hash(whole(read(texts["deepfm"] + "\n# a remark\n"))) == first
    assert recipe_hash(whole(read(texts["deepfm"], "train.seed=1"))) != first
    assert recipe_hash(whole(read(texts["deepfm"], "train.seed=0"))) == first
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "r.yaml").write_text(texts["deepfm"])
    assert recipe_hash(read_recipe(elsewhere / "r.yaml")) == first


def test_reading_is_deterministic(tmp_path: Path, texts: Texts) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(texts["everything"].replace("vid]", "vdi]").replace("max_len", "maxlen"))
    code = (
        "import sys; from graphrec.ground.errors import render\n"
        "from graphrec.recipe import parse, canonical\n"
        "r = parse(sys.argv[1]); print(render(r.problems, r.sources), sorted(r.broken))\n"
        "print(canonical(r.recipe, origin=True))"
    )
    seen = set()
    for seed in ("0", "1", "77"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add(done.stdout)
    assert len(seen) == 1


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, graphrec.recipe\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'networkx', 'pyarrow',"
        " 'numpy', 'rich', 'torchmetrics'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- parts ------------------------------------------------------------------------------------


def test_broken_parts_are_left_out(read: Read, texts: Texts) -> None:
    text = texts["deepfm"].replace("hidden: [64]", "each: 5").replace("log1p, dim: 16", "log2")
    reading = read(text)
    assert [p.code for p in reading.problems] == ["GR202", "GR202"]
    assert reading.recipe is not None
    assert set(reading.recipe.graph) == {"fm", "deep"}
    assert reading.broken == {"graph.final", *(f"features.I{i}" for i in range(1, 14))}
    assert "C1" in reading.recipe.features


def test_read_recipe_raises_every_problem(tmp_path: Path, texts: Texts) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        texts["deepfm"].replace("batch", "bacth").replace("blok", "block").replace("mlp", "5")
    )
    with pytest.raises(RecipeError) as caught:
        read_recipe(path, ["train.seed=x"])
    assert sorted(p.code for p in caught.value.problems) == ["GR201", "GR202", "GR202", "GR202"]
    with pytest.raises(RecipeError, match="GR120"):
        read_recipe(tmp_path / "none.yaml")


def test_a_text_is_a_recipe_too(texts: Texts) -> None:
    recipe = whole(parse(texts["deepfm"]))
    assert recipe.origin is not None
    assert recipe.origin.sources == {"<text>": texts["deepfm"]}


def test_the_name_of_a_recipe_without_one(read: Read, texts: Texts) -> None:
    assert whole(read(texts["deepfm"].replace("name: deepfm_criteo\n", ""))).name == "r"


def test_words_of_nodes_are_those_blocks_avoid() -> None:
    assert set(NODE_WORDS) == RESERVED


def test_settings_by_kind(read: Read, texts: Texts) -> None:
    recipe = whole(read(texts["everything"]))
    assert recipe.train.schedule.kind == "cosine"
    assert recipe.train.schedule.warmup == 10
    assert recipe.train.optim.dense.betas == (0.8, 0.9)
    assert recipe.train.lr.dense == 1e-3
    assert recipe.tasks["n"].loss == {}
    assert recipe.tasks["n"].metrics == ()
    assert list(recipe.tasks["r"].loss) == ["l2"]
    assert [r.child for r in recipe.relations] == ["cvr", "r"]
    assert recipe.relations[0].parents == ("ctr", "n")
    history = recipe.features["hist"]
    assert isinstance(history, SequenceFeature)
    assert history.columns == {"vid": "h: 1"}
    assert ordered(recipe.blocks["attend"].graph) == ("s", "p")


def test_environment(read: Read, monkeypatch: pytest.MonkeyPatch, texts: Texts) -> None:
    monkeypatch.setenv("BATCH", "64")
    text = (
        texts["deepfm"]
        .replace("8192", "$env.BATCH")
        .replace("epochs: 1", "epochs: $env.NONE_SUCH:3")
    )
    recipe = whole(parse(text, allow_env=["BATCH"]))
    assert (recipe.train.batch, recipe.train.epochs) == (64, 3)
    [problem] = read(text).problems
    assert problem.code == "GR209" and "--allow-env BATCH" in problem.help
    assert "64" not in problem.message
    unset = texts["deepfm"].replace("8192", "$env.NONE_SUCH")
    [problem] = parse(unset, allow_env=["NONE_SUCH"]).problems
    assert problem.code == "GR209" and "is not set" in problem.message
    # What is typed on the command line is the user's own word.
    assert whole(parse(texts["deepfm"], ["train.batch=$env.BATCH"])).train.batch == 64
    [problem] = read(texts["deepfm"].replace("8192", "x$env.BATCH")).problems
    assert problem.code == "GR202"
