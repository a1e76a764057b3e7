"""A trained run that predicts: raw rows in, one request with its candidates, or whole rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import graphrec
from graphrec.compiler.pipeline import compile_recipe
from graphrec.data.source import CHUNK_ROWS
from graphrec.ground.errors import DataError
from graphrec.train import train

RECIPE = """\
graphrec: 1
name: served
data: {synthetic: 600, workers: 0, bad_rows: quarantine}
defaults: {feature: {dim: 4}}
features:
  - {type: id, group: user, side: user, names: {user_id: 50}}
  - {type: id, side: context, names: {hour: 24}}
  - {type: id, group: item, side: item, names: {item_id: 40}}
  - {type: id, group: item, side: item, names: tags, vocab: 9, pool: mean}
  - {type: dense, side: item, names: price}
  - {type: cross, name: both, of: [user_id, item_id], vocab: hash(100)}
  - {type: sequence, side: user, name: past, of: [item_id], max_len: 4}
groups:
  history: {query: [item_id], keys: past}
graph:
  seen: {block: din, in: history, hidden: [4]}
  deep: {block: mlp, in: [all, seen], hidden: [8], norm: batch}
tasks:
  click: {label: click, in: deep}
train: {batch: 100, steps: 6}
"""
REQUEST = {"user_id": 7, "hour": 3, "past__item_id": [1, 2, 5]}
CANDIDATES = [
    {"item_id": 4, "tags": [1], "price": 1.5},
    {"item_id": 9, "tags": [], "price": None},
    {"item_id": None, "tags": [2, 3], "price": 0.0},
]


class Quiet:
    """A console that says nothing."""

    quiet = True

    def result(self, text: str) -> None: ...

    def remark(self, text: str) -> None: ...


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("served")
    (place / "served.yaml").write_text(RECIPE)
    compiled = compile_recipe(place / "served.yaml")
    return train(compiled, console=Quiet(), run_dir=place / "run").folder


def test_a_request_scores_as_its_rows_predict(folder: Path) -> None:
    run = graphrec.load_run(folder)
    assert run.request_columns == ("hour", "past__item_id", "user_id")
    assert run.candidate_columns == ("item_id", "price", "tags")
    rows: list[dict[str, Any]] = [{**REQUEST, **candidate} for candidate in CANDIDATES]
    expected, found = run.predict(rows), run.score(REQUEST, CANDIDATES)
    assert sorted(found) == ["logits", "probs"] and found["probs"].shape == (3,)
    assert len(set(found["probs"])) == 3
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], atol=1e-6)
    tables = run.score(pa.Table.from_pylist([REQUEST]), pa.Table.from_pylist(CANDIDATES))
    np.testing.assert_array_equal(tables["probs"], found["probs"])
    batches = run.batch([REQUEST], "request"), run.batch(rows, "candidates")
    direct = run.module.score(*batches)  # type: ignore[operator]
    np.testing.assert_allclose(direct["probs"].numpy(), found["probs"], atol=1e-6)


def test_the_checkpoint_is_the_one_asked_for(folder: Path) -> None:
    last, third = graphrec.load_run(folder, "last"), graphrec.load_run(folder, checkpoint=6)
    assert last.trained.checkpoint.folder == third.trained.checkpoint.folder
    assert not last.module.training
    with pytest.raises(graphrec.CheckpointError):
        graphrec.load_run(folder, checkpoint=5)


def test_what_is_missing_or_bad_is_said(folder: Path) -> None:
    run = graphrec.load_run(folder)
    with pytest.raises(DataError, match="no column `past__item_id`"):
        run.score({"user_id": 7, "hour": 3}, CANDIDATES)
    with pytest.raises(DataError, match="no column `tags`"):
        run.score(REQUEST, [{"item_id": 4, "price": 1.0}])
    with pytest.raises(DataError, match="price"):
        run.score(REQUEST, [*CANDIDATES, {"item_id": 1, "tags": [1], "price": "much"}])
    with pytest.raises(DataError, match="price") as bad:  # quarantined in training, an error here
        run.score(REQUEST, [*CANDIDATES, {"item_id": 1, "tags": [1], "price": float("inf")}])
    assert [problem.help for problem in bad.value.problems] == ["repair the rows"]
    with pytest.raises(ValueError, match="one row, got 2"):
        run.score([REQUEST, REQUEST], CANDIDATES)


def test_only_none_is_null(folder: Path) -> None:
    run = graphrec.load_run(folder)
    whole = run.score(REQUEST, [*CANDIDATES, {"item_id": None, "tags": [1], "price": 1.0}])
    assert whole["probs"].shape == (len(CANDIDATES) + 1,)
    with pytest.raises(DataError, match=r"GR703.*row 3 of 4 has no `item_id`") as caught:
        run.score(REQUEST, [*CANDIDATES, {"itm_id": 4, "tags": [1], "price": 1.0}])
    assert caught.value.problems[0].help.startswith("did you mean it by `itm_id`?")
    with pytest.raises(DataError, match="row 0 of 2 has no `price`"):
        rows = [{**REQUEST, **candidate} for candidate in CANDIDATES[:2]]
        del rows[0]["price"]
        run.predict(rows)


def test_no_candidates_are_no_rows(folder: Path) -> None:
    run = graphrec.load_run(folder)
    assert run.score(REQUEST, [])["probs"].shape == (0,)
    assert run.predict([])["probs"].shape == (0,)
    nothing = pa.Table.from_pylist(CANDIDATES).slice(0, 0)
    assert run.score(REQUEST, nothing)["probs"].shape == (0,)


def test_no_row_is_lost_behind_the_first_chunk(folder: Path) -> None:
    run = graphrec.load_run(folder)
    rows = pa.Table.from_pylist([{**REQUEST, **candidate} for candidate in CANDIDATES])
    many = pa.concat_tables([rows] * (CHUNK_ROWS // rows.num_rows + 2))
    assert run.predict(many)["probs"].shape == (many.num_rows,)


def test_rows_may_come_one_by_one_and_the_request_counts(folder: Path) -> None:
    run = graphrec.load_run(folder)
    expected = run.score(REQUEST, CANDIDATES)["probs"]
    found = run.score(REQUEST, (candidate for candidate in CANDIDATES))["probs"]
    np.testing.assert_array_equal(found, expected)
    # A cross reads user_id: that of the request, whatever a candidate brings along.
    others = [{**candidate, "user_id": 99} for candidate in CANDIDATES]
    np.testing.assert_array_equal(run.score(REQUEST, others)["probs"], expected)


@pytest.mark.parametrize("rows", [None, 5, "abc", [1, 2], {"item_id": 4}])
def test_what_is_no_rows_is_told(folder: Path, rows: Any) -> None:
    with pytest.raises(
        TypeError, match="a map per row, a map of columns|a map of columns has a list"
    ):
        graphrec.load_run(folder).score(REQUEST, rows)


def test_a_slip_in_a_request_is_told(folder: Path) -> None:
    run = graphrec.load_run(folder)
    with pytest.raises(ValueError, match="one row, got 0.*hour, past__item_id, user_id"):
        run.score({}, CANDIDATES)
    with pytest.raises(ValueError, match="no side 'user'"):
        run.batch(CANDIDATES, "user")  # type: ignore[arg-type]
    with pytest.raises(DataError) as caught:
        run.score({**REQUEST, "user_id": 10**30}, CANDIDATES)
    assert "as text" in caught.value.problems[0].help


def test_without_sides_there_is_no_score(tmp_path: Path) -> None:
    text = RECIPE.replace("side: user, ", "").replace("side: context, ", "")
    (tmp_path / "served.yaml").write_text(text)
    compiled = compile_recipe(tmp_path / "served.yaml", overrides=["train.steps=1"])
    run = graphrec.load_run(train(compiled, console=Quiet(), run_dir=tmp_path / "run").folder)
    rows: list[dict[str, Any]] = [{**REQUEST, **candidate} for candidate in CANDIDATES]
    assert run.predict(rows)["probs"].shape == (3,)
    with pytest.raises(ValueError, match="can't score candidates"):
        run.score(REQUEST, CANDIDATES)
