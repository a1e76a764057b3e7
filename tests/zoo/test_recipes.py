"""The shipped recipes: checked, compiled, trained for three steps on generated rows, evaluated."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from graphrec.compiler.pipeline import Compiled, check_recipe, compile_recipe
from graphrec.graph import Node
from graphrec.recipe.model import IdFeature, Recipe
from graphrec.recipe.tasks import key
from graphrec.train import evaluate, train

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml") if not path.stem.endswith("_base"))
SMALL = (
    "data.synthetic=3000",
    "data.workers=0",
    "train.batch=512",
    "train.epochs=null",
    "train.steps=3",
)
STEPS, HELD_OUT = 3, 300
ROWS = 500

# What makes a recipe the architecture its name says: the blocks of its graph, relations included.
ARCHITECTURES: dict[str, set[str]] = {
    "aitm": {"aitm", "mlp"},
    "autodis": {"fm", "mlp"},
    "autoint": {"self_attention"},
    "bst": {"self_attention", "dot_attention", "mlp"},
    "dbmtl": {"mlp", "relation_mlp"},
    "dbmtl_masknet": {"masknet", "relation_mlp"},
    "dbmtl_mmoe": {"mmoe", "relation_mlp"},
    "dbmtl_taobao": {"masknet", "mmoe", "relation_mlp"},
    "dcn": {"cross", "mlp"},
    "dcn_v2": {"cross_v2", "mlp"},
    "deepfm": {"fm", "mlp"},
    "din": {"din", "mlp"},
    "dlrm": {"dot_interaction", "mlp"},
    "dssm": {"pooling", "mlp"},
    "esmm": {"mlp"},
    "feature_selection": {"mlp"},
    "fibinet": {"bilinear", "senet"},
    "fm": {"fm"},
    "fusion_tower": {"fusion_tower", "mlp"},
    "jrc": {"mlp"},
    "masknet": {"masknet"},
    "masknet_serial": {"masknet"},
    "mind": {"interests", "mlp"},
    "mmoe": {"mmoe", "mlp"},
    "multi_tower": {"mlp"},
    "multi_tower_din": {"din", "mlp"},
    "multi_window_din": {"multi_window_din", "mlp"},
    "next_action": {"mlp"},
    "pareto": {"ple", "mlp"},
    "pepnet": {"epnet", "ppnet"},
    "ple": {"ple", "mlp"},
    "retrieval_two_tower": {"pooling", "mlp"},
    "sasrec": {"self_attention", "mlp", "pooling"},
    "shared_bottom": {"mlp"},
    "two_histories": {"din", "mlp"},
    "two_tower": {"mlp"},
    "uncertainty": {"mmoe", "mlp"},
    "watch_time": {"cross_v2", "mlp"},
    "wide_and_deep": {"mlp"},
    "wukong": {"wukong", "mlp"},
    "xdeepfm": {"cin", "linear", "mlp"},
}


class Quiet:
    """A console that says nothing."""

    quiet = True

    def result(self, text: str) -> None: ...

    def remark(self, text: str) -> None: ...


def small(name: str) -> tuple[str, ...]:
    """Overrides that make the recipe small: generated rows, few steps, short tables."""
    recipe = check_recipe(RECIPES / f"{name}.yaml").reading.recipe
    assert recipe is not None
    return (*SMALL, *(f"features.{feature}.vocab=hash({ROWS})" for feature in _large(recipe)))


def _large(recipe: Recipe) -> list[str]:
    features = recipe.features.items()
    sizes = {n: f.vocab.args[0] for n, f in features if isinstance(f, IdFeature) and f.vocab.args}
    return [name for name, size in sizes.items() if isinstance(size, int) and size > ROWS]


def blocks(compiled: Compiled) -> set[str]:
    def name(node: Node) -> str:
        return str(getattr(type(node.op), "block_name", ""))

    return {name(node) for node in compiled.graph.nodes} - {""}


def test_the_zoo_is_complete() -> None:
    assert len(ARCHITECTURES) >= 24
    assert set(ARCHITECTURES) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_what_it_is(name: str) -> None:
    path = RECIPES / f"{name}.yaml"
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    assert first == "# yaml-language-server: $schema=../schemas/recipe.schema.json"
    assert not [line for line in lines if line != line.rstrip() or "\t" in line]
    recipe = check_recipe(path).reading.recipe
    assert recipe is not None
    assert recipe.name == name
    assert re.fullmatch(r"[^\n]{20,140}", recipe.description)
    if name in ARCHITECTURES:
        assert re.search(r"\([^()]+, ([A-Z]\w+ )?(19|20)\d\d\)", recipe.description), (
            "names no paper"
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_trains_and_evaluates(name: str, tmp_path: Path) -> None:
    whole = check_recipe(RECIPES / f"{name}.yaml")
    assert {problem.code for problem in whole.problems} <= {"GR602"}
    compiled = compile_recipe(RECIPES / f"{name}.yaml", overrides=small(name))
    assert blocks(compiled) >= ARCHITECTURES.get(name, set())
    folder = train(compiled, console=Quiet(), run_dir=tmp_path / name).folder
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (last,) = [record for record in map(json.loads, lines) if record["kind"] == "eval"]
    assert (last["step"], last["rows"]) == (STEPS, HELD_OUT)
    trained = {o.task for o in compiled.graph.outputs if o.ref.node in compiled.graph.trained}
    for task, spec in compiled.recipe.tasks.items():
        for number in [f"{task}.loss"] * bool(spec.loss) + [key(task, m) for m in spec.metrics]:
            assert number in last, number
            assert last[number] is None if task in trained else math.isfinite(last[number]), number
    assert _timeless(evaluate(folder)) == _timeless(last)


def _timeless(record: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k not in ("loader_share", "rows_per_s", "seconds")}
