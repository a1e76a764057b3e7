"""Runs of an earlier build still evaluate, score and go on: names and files may move, runs not.

Each folder was interrupted by SIGTERM at update 7. `expected.json` holds what that build then said
of it: its evaluation, its scores for some rows, and the last evaluation after going on to the end.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphrec
from graphrec.cli.console import Console
from graphrec.compiler.pipeline import compile_recipe
from graphrec.train.evaluate_run import evaluate
from graphrec.train.loop import train

RUNS = Path(__file__).parent / "runs_of_before"
each_run = pytest.mark.parametrize("name", ["plain", "history", "tasks"])


@pytest.fixture
def run(name: str, tmp_path: Path) -> Path:
    """A copy of the run: reading it may not need anything that lies elsewhere."""
    return Path(shutil.copytree(RUNS / name, tmp_path / name))


def expected(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "expected.json").read_text()))


def assert_equal_records(record: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Every number of an evaluation but those of the clock; later builds may say more."""
    for key, value in wanted.items():
        near = pytest.approx(value, rel=1e-4) if isinstance(value, float) else value
        assert record[key] == near, key


@each_run
def test_it_evaluates(run: Path) -> None:
    assert_equal_records(evaluate(run), expected(run)["evaluate"])


@each_run
def test_it_scores(run: Path) -> None:
    wanted = expected(run)
    rows, served = wanted["rows"], graphrec.load_run(run)
    if "request" in rows:
        scores = served.score(rows["request"], rows["candidates"])
    else:
        scores = served.predict(rows["rows"])
    assert scores.keys() == wanted["scores"].keys()
    for key, values in scores.items():
        np.testing.assert_allclose(values, wanted["scores"][key], rtol=1e-5, atol=1e-6)


@each_run
def test_it_goes_on(run: Path) -> None:
    compiled = compile_recipe(run / "recipe.yaml")
    done = train(compiled, console=Console(quiet=True), run_dir=run)
    assert done.resumed and done.folder == run, "the recipe's or the data's hash has changed"
    evaluations = [record for record in done.records if record["kind"] == "eval"]
    assert_equal_records(evaluations[-1], expected(run)["resumed"])
