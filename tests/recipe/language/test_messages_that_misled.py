"""Mistakes of the first hour: each is told as what it is, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphrec.compiler.pipeline import check_recipe

RECIPE = """\
graphrec: 1
name: first_hour
data: {train: rows.csv}
features: [{type: id, names: {user: 10, item: 20}, dim: 4}, {type: dense, names: price}]
graph: {deep: {block: mlp, in: all, hidden: [4]}}
tasks: {click: {label: click, in: deep}}
train: {batch: 64, lr: 1e-3}
"""


@pytest.mark.parametrize(
    ("old", "new", "message", "help"),
    [
        ("lr: 1e-3", 'lr: "0.001"', "expected a number", "without quotes: 0.001"),
        ("batch: 64", 'batch: "64"', "expected an integer", "without quotes: 64"),
        ("batch: 64", "batch: many", "expected an integer", ""),
        ("type: dense", "type: seq", "expected one of", "did you mean `sequence`?"),
        ("user: 10", "user: 1k", "expected an integer, hash(N), file(path)", ""),
        ("rows.csv}", "rows.csv, split: {by: day, eval: 0.2}}", "is random: 0.2", ""),
        ("rows.csv}", "rows.csv, split: {by: day, eval: 3}}", "expected last(N), got 3", ""),
        ("{deep: {block: mlp, in: all, hidden: [4]}}", "{}", "no node or group `deep`", ""),
    ],
)
def test_one_finding_that_says_it(
    old: str, new: str, message: str, help: str, tmp_path: Path
) -> None:
    assert RECIPE.count(old) == 1
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace(old, new))
    (problem,) = check_recipe(path).errors
    assert message in problem.message
    assert help in problem.help if help else "without quotes" not in problem.help
