"""The numbers people watch while a model trains are those of the model they watch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graphrec.cli import main
from graphrec.recipe.training import Schedule
from graphrec.train.evaluate_run import evaluate
from graphrec.train.schedules import factor


def records(folder: Path, kind: str) -> list[dict[str, float]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [r for r in map(json.loads, lines) if r["kind"] == kind]


def test_the_training_auc_is_that_of_the_model_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "-o",
        "data.synthetic=60_000",
        "-o",
        "train={epochs: null, steps: 100, batch: 512}",
    ]
    assert main(["train", "shop", "--quiet", *words]) == 0
    folder = tmp_path / "runs" / "shop"
    last, truth = records(folder, "train")[-1], evaluate(folder)
    assert last["step"] == 100
    for name in ("click.auc", "buy.auc"):
        assert truth[name] > 0.7
        assert last[name] == pytest.approx(truth[name], abs=0.02), name
    assert last["loss"] == pytest.approx(truth["loss"], rel=0.15)


RECIPE = """
graphrec: 1
name: tiny
data: {synthetic: 2000, workers: 0}
features: [{type: id, names: item, vocab: 20, dim: 4}]
graph: {deep: {block: mlp, in: all, hidden: [4]}}
tasks: {click: {label: click, in: deep, metrics: [auc, logloss]}}
train: {batch: 60, log_every: 10, eval_every: 10, lr: {dense: 0.01, sparse: 0.1}, schedule: cosine}
"""


def test_rates_gradients_and_every_metric_are_in_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(RECIPE)
    assert main(["train", "tiny.yaml", "--quiet"]) == 0
    folder = tmp_path / "runs" / "tiny"
    board = reading.EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    tags = set(board.Tags()["scalars"])
    assert tags >= {"train/lr", "train/lr_tables", "train/gradient_norm", "train/click.auc"}
    assert tags >= {"eval/loss", "eval/click.auc", "eval/click.logloss", "train/loss"}
    for kind in ("train", "eval"):
        for record in records(folder, kind):
            for name, value in record.items():
                if f"{kind}/{name}" in tags:
                    points = {e.step: e.value for e in board.Scalars(f"{kind}/{name}")}
                    assert points[record["step"]] == pytest.approx(value, rel=1e-6)
    schedule = Schedule(kind="cosine")
    for record in records(folder, "train"):
        rate = factor(schedule, int(record["step"]) - 1, 30)
        assert record["lr"] == pytest.approx(0.01 * rate)
        assert record["lr_tables"] == pytest.approx(0.1 * rate)
        assert record["gradient_norm"] > 0
    report = (folder / "report.md").read_text()
    assert "| step | epoch | loss | click.auc | click.logloss |" in report
