"""`graphrec importance`: what the labels depend on comes first, and the reduced recipe holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from graphrec.blocks.library import BUILTIN
from graphrec.cli import main
from graphrec.cli.console import Console
from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.nn import Jagged
from graphrec.recipe import canonical, read_recipe
from graphrec.train.importance import importance, reduce_recipe
from graphrec.train.importance.subjects import take_rows, targets
from graphrec.train.loop import train

RECIPE = """\
graphrec: 1
name: known
data: {train: rows.parquet, eval: rows.parquet, workers: 0}
defaults: {feature: {dim: 4}}
features:
  - {type: id, group: user, names: {strong: 8, weak: 8, noise: 8}}
  - {type: id, group: item, names: {item: 8, brand: file(brands.txt)}}
  - {type: dense, names: price}
  - {type: sequence, name: seen, of: [item, brand], max_len: 3}
groups:
  history: {query: [item, brand], keys: seen}
  chosen: {of: [user, item], regularize: {variational_dropout: {lambda: 0.5}}}
graph:
  interest: {block: din, in: history, hidden: [4]}
  deep: {block: mlp, in: [chosen, price_only, interest], hidden: [8]}
tasks:
  click: {label: click, in: deep}
  spent: {label: spent, in: deep, kind: regression}
train: {epochs: 6, batch: 256, lr: {dense: 0.02, sparse: 0.2}, seed: 3}
"""
RECIPE = RECIPE.replace("  chosen:", "  price_only: [price]\n  chosen:")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run whose labels depend on `strong`, somewhat on `weak`, and on nothing else."""
    folder = tmp_path_factory.mktemp("importance")
    random = np.random.default_rng(0)
    rows = 2_000
    ids = {name: random.integers(0, 8, rows) for name in ("strong", "weak", "noise", "item")}
    brands = np.array([f"b{i}" for i in range(8)])
    lengths = random.integers(0, 4, rows)
    score = 2.5 * (ids["strong"] % 2 - 0.5) + 1.0 * (ids["weak"] % 2 - 0.5)
    columns = {
        **ids,
        "brand": brands[random.integers(0, 8, rows)],
        "price": random.normal(size=rows),
        "seen__item": [random.integers(0, 8, n).tolist() for n in lengths],
        "seen__brand": [brands[random.integers(0, 8, n)].tolist() for n in lengths],
        "click": (random.random(rows) < 1 / (1 + np.exp(-score))).astype(np.int64),
        "spent": score + 0.1 * random.normal(size=rows),
    }
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    (folder / "brands.txt").write_text("\n".join(brands) + "\n")
    (folder / "known.yaml").write_text(RECIPE)
    compiled = compile_recipe(folder / "known.yaml")
    train(compiled, console=Console(quiet=True), run_dir=folder / "run")
    return folder / "run"


def test_what_matters_comes_first(run: Path) -> None:
    ranking = importance(run, repeats=2)
    assert ranking.rows == 2_000
    names = [found.name for found in ranking.importances]
    assert names[:2] == ["strong", "weak"]
    assert set(names) == {"strong", "weak", "noise", "item", "brand", "price", "seen"}
    strong = ranking.importances[0].effects
    assert strong["click"].auc_drop > 0.1  # type: ignore[operator]
    assert strong["spent"].auc_drop is None
    assert strong["spent"].loss_rise > 0.5  # type: ignore[operator]
    assert strong["click"].auc_spread < 0.05  # type: ignore[operator]
    text = ranking.as_text()
    assert "click: AUC drop" in text and "spent: AUC drop" not in text
    assert "chosen: feature" in text


def test_the_same_seed_gives_the_same_numbers(run: Path) -> None:
    first, again, other = (importance(run, rows=500, repeats=1, seed=s) for s in (1, 1, 2))
    assert first.importances == again.importances != other.importances


def test_groups_and_nodes(run: Path) -> None:
    groups = importance(run, by="group", rows=1_000, repeats=1)
    names = [found.name for found in groups.importances]
    assert set(names) == {"all", "user", "item", "history", "seen", "chosen", "price_only"}
    assert set(names[:3]) == {"all", "chosen", "user"}
    nodes = importance(run, by="node", rows=1_000, repeats=1)
    assert [found.name for found in nodes.importances] == ["deep", "interest"]
    assert nodes.importances[0].effects["click"].auc_drop > 0.2  # type: ignore[operator]


def test_a_drawn_node_is_let_go(run: Path) -> None:
    from graphrec.train.evaluate_run import load_run

    loaded = load_run(run)
    for target in targets("node", loaded.compiled, loaded.module, BUILTIN):
        with pytest.raises(RuntimeError), target.hooked(torch.tensor([0])):
            raise RuntimeError("interrupted")
        assert target.part is not None and not target.part._forward_hooks


def test_rows_of_histories_of_bags_move_together() -> None:
    bags = Jagged(torch.arange(5), torch.tensor([2, 0, 3]))  # three steps
    history = Jagged(bags, torch.tensor([1, 0, 2]))  # type: ignore[arg-type]
    moved = take_rows(history, torch.tensor([2, 1, 0]))
    assert isinstance(moved, Jagged) and moved.lengths.tolist() == [2, 0, 1]
    inner: Jagged = moved.values  # type: ignore[assignment]
    assert inner.lengths.tolist() == [0, 3, 2] and inner.values.tolist() == [2, 3, 4, 0, 1]


@pytest.mark.parametrize("keep", [1, 3, 5])
@pytest.mark.parametrize("rank", ["permutation", "dropout"])
def test_the_reduced_recipe_checks(run: Path, keep: int, rank: str, tmp_path: Path, capsys) -> None:
    file = run.parent / f"reduced_{rank}_{keep}.yaml"
    words = ["--rows", "500", "--repeats", "1", "--keep", str(keep), "--rank", rank]
    status = main(["importance", str(run), *words, "-O", str(file), "--format", "json"])
    assert status == 0
    told = json.loads(capsys.readouterr().out)
    checked = check_recipe(file, allow_root=run.parent)
    assert not checked.errors
    recipe = checked.reading.recipe
    assert recipe is not None
    assert sorted(told["reduced"]["removed"]) == sorted({*RANKED} - recipe.features.keys())
    if rank == "dropout":
        best = list(told["dropout"]["chosen"])[:keep]
    else:
        best = [found["name"] for found in told["importance"]][:keep]
        assert "strong" in best
    # A sequence whose features all are gone goes with them.
    assert {*best} - {"seen"} <= recipe.features.keys()
    if "brand" in recipe.features:
        assert str(recipe.features["brand"].vocab).startswith("file(")  # type: ignore[union-attr]


RANKED = ("strong", "weak", "noise", "item", "brand", "price", "seen")

CROSSED = """\
graphrec: 1
name: crossed
defaults: {feature: {dim: 4}}
features:
  - {type: id, names: {a: 8, b: 8, c: 8, d: 8}}
  - {type: cross, name: ab, of: [a, b], vocab: hash(100)}
  - {type: sequence, name: past, of: [c, d], max_len: 5}
groups:
  pair: {query: [c, d], keys: past}
  ids: {of: [a, b, c], except: [b]}
  both: [ids]
graph:
  seen: {block: din, in: pair, hidden: [4]}
  side: {block: mlp, in: both, hidden: [4]}
  mixed: side * 2
  top: {block: mlp, in: [all, seen, mixed], hidden: [4]}
tasks: {t: {label: y, in: top, metrics: ["gauc(b)"]}}
export: {nodes: [side]}
train: {groups: {side: {lr: 0.1}, "seen*": {lr: 0.1}}}
kernels: {by_node: {seen: torch}}
"""


@pytest.mark.parametrize(
    ("kept", "features", "nodes"),
    [
        (["a", "b", "c"], {"a", "b", "c"}, {"side", "mixed", "top"}),
        (["b", "past", "d"], {"b", "d", "past"}, {"seen", "top"}),
        (["b"], {"b"}, {"top"}),
        (["ab", "a", "b"], {"a", "b", "ab"}, {"side", "mixed", "top"}),
    ],
)
def test_what_only_the_removed_was_for_goes_too(
    write_recipe: Callable[[str], Path], kept: list[str], features: set[str], nodes: set[str]
) -> None:
    recipe = read_recipe(write_recipe(CROSSED))
    ranking = [*kept, *sorted(recipe.features.keys() - {*kept})]
    made = reduce_recipe(recipe, ranking, len(kept), BUILTIN)
    assert made.recipe.features.keys() == features
    assert made.recipe.graph.keys() == nodes
    assert not made.needed
    assert not check_recipe(write_recipe(canonical(made.recipe))).errors


def test_what_the_recipe_needs_stays(write_recipe: Callable[[str], Path]) -> None:
    text = CROSSED.replace("in: [all, seen, mixed]", "in: [seen, mixed]")
    recipe = read_recipe(write_recipe(text.replace("  - {type: cross", "  # - {")))
    made = reduce_recipe(recipe, ["b", "past", "c", "d", "a"], 1, BUILTIN)
    # `b` is the best, but only the others make the tower.
    assert made.needed
    assert not check_recipe(write_recipe(canonical(made.recipe))).errors


@pytest.mark.parametrize(
    "words", [["--keep", "3"], ["-O", "x.yaml"], ["--keep", "0", "-O", "x"], ["--rows", "none"]]
)
def test_wrong_options(words: list[str], tmp_path: Path, capsys) -> None:
    assert main(["importance", str(tmp_path), *words]) == 2
    assert "usage: graphrec importance" in capsys.readouterr().err
