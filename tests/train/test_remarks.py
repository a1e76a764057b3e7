"""What is said at the end: nothing where all is well, and what a careful person should hear."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from graphrec.cli import main
from graphrec.nn.batch import Batch, Jagged
from graphrec.train import remarks
from graphrec.train.run import read_info
from graphrec.train.shared_rows import SharedRows

RECIPE = """
graphrec: 1
name: rows
data: {train: train.parquet, eval: eval.parquet, workers: 0}
features:
  - {type: id, names: {item: 300}, dim: 4}
  - {type: dense, names: [price, age]}
graph: {deep: {block: mlp, in: all, hidden: [16]}}
tasks: {click: {label: click, in: deep, metrics: [auc]}}
train: {epochs: 2, batch: 100, log_every: 2, lr: 0.01}
"""
ROWS = 2000
Columns = dict[str, Any]


def columns(seed: int, rows: int = ROWS) -> Columns:
    draw = np.random.default_rng(seed)
    price = draw.normal(size=rows)
    chance = 1 / (1 + np.exp(-2 * price))
    return {
        "item": draw.integers(300, size=rows),
        "price": price,
        "age": draw.normal(size=rows),
        "click": (draw.random(rows) < chance).astype(int),
    }


@pytest.fixture
def said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """`said(train, eval, *overrides)`: the remarks of a run, the same wherever they stand."""

    def run(train: Columns, evaluated: Columns, *overrides: str) -> str:
        monkeypatch.chdir(tmp_path)
        pq.write_table(pa.table(train), "train.parquet")
        pq.write_table(pa.table(evaluated), "eval.parquet")
        Path("rows.yaml").write_text(RECIPE)
        words = [word for text in overrides for word in ("-o", text)]
        status = main(["train", "rows.yaml", *words])
        err = capsys.readouterr().err
        assert status == 0, err
        _, _, block = err.partition("remarks:\n")
        lines = [line.removeprefix("  - ") for line in block.splitlines()]
        folder = max(Path("runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        kept = read_info(folder)["remarks"]
        assert [remark["text"] for remark in kept] == lines
        report = (folder / "report.md").read_text()
        assert ("## Remarks" in report) == bool(lines)
        assert all(f"- {line}" in report for line in lines)
        return "\n".join(lines)

    return run


def test_nothing_is_said_where_all_is_well(said: Callable[..., str]) -> None:
    assert said(columns(1), columns(2)) == ""


def test_a_warm_up_that_never_ended(said: Callable[..., str]) -> None:
    text = said(columns(1), columns(2), "train.schedule={kind: constant, warmup: 1000}")
    assert "the warm-up of 1,000 updates never ended: the run had 40" in text
    assert "came to 4.0% of train.lr" in text


def test_overfitting(said: Callable[..., str]) -> None:
    noise = {**columns(1, 300), "click": np.random.default_rng(3).integers(2, size=300)}
    text = said(noise, columns(2, 300), "train.epochs=8", "train.batch=20", "train.lr=0.2")
    assert "overfitting: the evaluation loss was" in text


def test_losses_that_rose() -> None:
    def told(kind: str, *losses: float | None) -> list[str]:
        records = [{"kind": kind, "step": n, "loss": loss} for n, loss in enumerate(losses)]
        return [remark.text for remark in remarks.of_losses(records)]

    (text,) = told("train", 0.5, 0.4, None, 0.7, 0.9)
    assert text == "the training loss rose, from 0.5000 to 0.9000: a smaller train.lr?"
    assert told("train", 0.5, 0.4, 0.5, 0.505) == told("train", 0.1, 0.9) == []
    (text,) = told("eval", 0.5, 0.4, 0.7)
    assert "the evaluation loss was 0.4000 at step 1, and is 0.7000 at the end" in text
    assert told("eval", 0.5, 0.4, 0.405) == told("eval", None, None) == []


def test_shared_rows_and_labels_given_away(said: Callable[..., str]) -> None:
    train, evaluated = columns(1), columns(2)
    mixed = {k: np.concatenate([v[:40], train[k][500:560], v[40:]]) for k, v in evaluated.items()}
    assert "60 of the first 100 evaluation rows are training rows too" in said(train, mixed)
    for one in (train, evaluated):
        one["age"] = one["click"] * 2.0 - 1
    text = said(train, evaluated, "train.epochs=8")
    assert "click.auc is 1.00000: does a feature give the label away?" in text


def test_predictions_that_are_no_probabilities(said: Callable[..., str]) -> None:
    rare = {**columns(2), "click": (columns(2)["price"] > 1.2).astype(int)}
    text = said(columns(1), rare)
    assert "task `click`: predictions sum to" in text and "times too many for probabilities" in text


def test_what_the_data_held(said: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    train = columns(1)
    train["age"] = train["age"] * 1e12
    train["item"] = train["item"] + 1000
    train["click"] = pa.array([None, *train["click"][1:]])
    text = said(train, columns(2))
    assert "feature `age`: numbers from -" in text
    assert "`item` 100%" in text and "1,999" not in text
    assert "task `click`: 2 training rows have no label, of 4,000 read" in text
    capsys.readouterr()
    assert main(["evaluate", "runs/rows", "--data", "train.parquet", "--format", "json"]) == 0
    out = capsys.readouterr()
    record = json.loads(out.out)
    assert record["rows"] == ROWS
    assert "remarks" not in out.err, "where JSON is asked for they are in it"
    told = {remark["text"] for remark in record["remarks"]}
    assert "unseen values in the evaluation rows: `item` 100%" in told


def test_a_metric_that_is_not_there_stops_nothing(said: Callable[..., str], tmp_path: Path) -> None:
    one = {**columns(2), "click": np.zeros(ROWS, np.int64)}
    text = said(
        columns(1), one, "train.early_stop={metric: click.auc, patience: 1}", "train.epochs=4"
    )
    assert "every evaluation label is 0" in text
    lines = (tmp_path / "runs" / "rows" / "metrics.jsonl").read_text().splitlines()
    assert max(json.loads(line)["epoch"] for line in lines) == 4


def batch(ids: list[int], past: list[list[int]], price: list[float]) -> Batch:
    flat = torch.tensor([value for row in past for value in row])
    history = Jagged(flat, torch.tensor([len(row) for row in past]))
    features = {"id": torch.tensor(ids), "past": history, "price": torch.tensor(price)[:, None]}
    labels = {"click": torch.zeros(len(ids))}
    return Batch(features, labels, {}, {})


def test_rows_are_equal_where_all_they_hold_is() -> None:
    rows = SharedRows(batch([1, 2, 3], [[5, 6], [], [7]], [0.5, 1.0, 2.0]))
    for other in (
        batch([1], [[6, 5]], [0.5]),
        batch([1], [[5]], [0.5]),
        batch([1], [[5, 6]], [0.25]),
        batch([2], [[5, 6]], [0.5]),
        batch([3, 3], [[], [7, 7]], [2.0, 2.0]),
    ):
        rows.add(other)
        assert rows.shared == 0
    rows.add(batch([9, 3, 1], [[], [7], [5, 6]], [0.0, 2.0, 0.5]))
    assert rows.shared == 2 and rows.rows == 3


def test_lists_of_lists_are_told_apart() -> None:
    def rows(*histories: list[list[int]]) -> Batch:
        steps = [step for history in histories for step in history]
        inner = Jagged(
            torch.tensor([value for step in steps for value in step]),
            torch.tensor([len(step) for step in steps]),
        )
        lengths = torch.tensor([len(history) for history in histories])
        return Batch({"seen": Jagged(inner, lengths)}, {}, {}, {})

    found = SharedRows(rows([[1, 2], [3]], [[4]]))
    found.add(rows([[1], [2, 3]], [[3], [1, 2]], [[2, 1], [3]]))
    assert found.shared == 0
    found.add(rows([[9]], [[1, 2], [3]]))
    assert found.shared == 1


def test_few_values_are_shared_by_chance() -> None:
    draw = torch.Generator().manual_seed(1)

    def rows(number: int) -> Batch:
        ids = torch.randint(40, (number,), generator=draw).tolist()
        return batch(ids, [[]] * number, [1.0] * number)

    found = SharedRows(rows(100))
    for _ in range(10):
        found.add(rows(100))
    assert found.shared > 95 and found.by_chance > 95
