"""Tasks without labels, metrics that are not available: null, told, and never the best."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graphrec.compiler.pipeline import compile_recipe
from graphrec.train import checkpoint, evaluate, train

RECIPE = """
graphrec: 1
name: tiny
data: {train: train.parquet, eval: valid.parquet, workers: 0}
features: [{type: id, names: {user: 20, item: 20}, dim: 4}]
graph: {deep: {block: mlp, in: all, hidden: [8]}}
tasks:
  a: {label: a, in: deep, metrics: [auc]}
  b: {label: b, in: deep, metrics: [auc, logloss], loss: {bce: {}, focal: {}}}
train: {epochs: 4, batch: 100, lr: 1e-2, log_every: 1, save: {keep: 99, every: 1}}
"""
ROWS = 200


class Console:
    quiet = False

    def __init__(self) -> None:
        self.text = ""

    def result(self, text: str) -> None:
        self.text += text + "\n"

    remark = result


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Trains with these labels of task b; gives the run folder, the console and all records."""
    monkeypatch.chdir(tmp_path)

    def trained(b: Any, b_valid: Any, *overrides: str) -> tuple[Path, str, list[dict[str, Any]]]:
        draw = np.random.default_rng(0)
        user, item = draw.integers(0, 20, (2, ROWS))
        for name, label in (("train", b), ("valid", b_valid)):
            columns = {"user": user, "item": item, "a": (item < 10).astype(np.int64)}
            pq.write_table(pa.table({**columns, "b": label}), f"{name}.parquet")
        console = Console()
        folder = train(
            compile_recipe(RECIPE, overrides=overrides), console=console, run_dir="run"
        ).folder
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        return folder, console.text, [json.loads(line) for line in lines]

    return trained


NULLS = pa.nulls(ROWS, pa.int64())
ONES = pa.array([1] * ROWS)
MIXED = pa.array([0, 1] * (ROWS // 2))


def test_a_task_without_labels_has_no_loss(run) -> None:
    folder, _, records = run(NULLS, NULLS)
    for record in records:
        assert record["b.loss"] is record["b.bce"] is record["b.focal"] is None, record["kind"]
        assert record["loss"] == record["a.loss"] > 0
    assert records[-1]["b.logloss"] is records[-1]["b.auc"] is None
    assert evaluate(folder)["b.loss"] is None


def test_without_any_label_there_is_no_total(run) -> None:
    _, text, records = run(NULLS, NULLS, "tasks.a=null")
    assert {record["loss"] for record in records} == {None}
    assert "loss -" in text


def test_a_missing_loss_is_not_the_best(run) -> None:
    folder, text, records = run(MIXED, NULLS, "train.save.best=b.loss")
    assert not [r for r in records if r["kind"] == "eval" and r["b.loss"] is not None]
    assert "b.loss is not available" in text and "does not count for train.save.best" in text
    assert checkpoint.best(folder / "checkpoints", ["b.loss"], False) is None


def test_early_stopping_waits_for_evaluations_that_have_its_metric(run) -> None:
    _, text, records = run(MIXED, ONES, "train.early_stop={metric: b.auc, patience: 1}")
    assert max(record["epoch"] for record in records) == 4
    assert "b.auc is not available (no labelled row, or one class only)" in text
    assert "does not count for train.early_stop" in text and "early stop:" not in text
