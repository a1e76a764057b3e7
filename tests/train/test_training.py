"""Whole runs on generated rows: records, resuming, early stopping, interruption, evaluation."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from graphrec.compiler.pipeline import compile_recipe
from graphrec.ground.errors import CheckpointError, DataError
from graphrec.train import checkpoint, evaluate, train
from graphrec.train.run import open_run, read_info

RECIPE = """
graphrec: 1
name: tiny
data: {synthetic: 1500, workers: 0}
defaults: {feature: {dim: 4}}
features:
  - {type: id, names: {user: fit, item: hash(50)}}
  - {type: dense, names: price, transform: zscore}
graph:
  deep: {block: mlp, in: all, hidden: [8], dropout: 0.2}
tasks:
  click: {label: click, in: deep, metrics: [auc, logloss, gauc(user)], train_metrics: [auc(step=4)]}
  buy: {label: buy, in: deep, space: click}
train: {epochs: 2, batch: 128, log_every: 3, eval_every: 4, seed: 3, save: {every: 1, keep: 99}}
"""
TIMES = {"seconds", "rows_per_s", "loader_share"}


class Quiet:
    """A console that keeps what it was told."""

    quiet = False

    def __init__(self) -> None:
        self.said: list[str] = []

    def result(self, text: str) -> None:
        self.said.append(text)

    remark = result


def start(base: Path, *overrides: str, text: str = RECIPE) -> tuple[Path, list[str]]:
    console = Quiet()
    compiled = compile_recipe(text, overrides=overrides)
    run = train(compiled, console=console, run_dir=base, command=["graphrec", "train", "tiny.yaml"])
    return run.folder, console.said


def records(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [r for r in found if kind in (None, r["kind"])]


def timeless(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k not in TIMES} for record in found]


def final(folder: Path) -> dict[str, bytes]:
    last = checkpoint.latest(folder / "checkpoints")
    return {p.name: p.read_bytes() for p in last.folder.glob("*.safetensors")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, list[str]]:
    """An unbroken run of two epochs, 11 updates each."""
    return start(tmp_path_factory.mktemp("runs") / "tiny")


def test_the_run_folder_holds_everything(whole):
    folder, said = whole
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "checkpoints",
        "graph.svg",
        "metrics.jsonl",
        "model.py",
        "recipe.yaml",
        "report.html",
        "report.md",
        "run.json",
        "stats.json",
        "tensorboard",
        "vocab",
    }
    info = read_info(folder)
    assert info["finished"] and info["command"] == "graphrec train tiny.yaml"
    assert info["seed"] == 3 and info["versions"]["torch"] == torch.__version__
    text = "\n".join(said)
    assert "train tiny (buy, click) on 2 x 1,350 rows" in text
    assert "best reachable auc" in text and "buy where click > 0" in text
    assert f"graphrec evaluate {folder}" in text
    assert any((folder / "tensorboard").iterdir())


def test_lines_of_metrics(whole):
    folder, _ = whole
    common = {"kind", "step", "epoch", "rows", "seconds", "loss", "rows_per_s", "loader_share"}
    tasks = {"click.loss", "buy.loss", "click.auc", "buy.auc"}
    found = {kind: records(folder, kind) for kind in ("train", "eval")}
    assert all(r.keys() >= common | tasks for kind in found.values() for r in kind)
    more = {"click.gauc(user)", "click.logloss", "buy.logloss.inside", "buy.auc.inside"}
    assert all(r.keys() >= more for r in found["eval"])
    assert [r["step"] for r in found["eval"]] == [4, 8, 11, 12, 16, 20, 22]
    assert [r["step"] for r in found["train"]] == [3, 6, 9, 11, 12, 15, 18, 21, 22]
    assert [r["rows"] for r in found["train"]][-1] == 2 * 1350
    assert found["eval"][-1]["rows"] == 150 and found["eval"][-1]["epoch"] == 2
    # Nothing is shown before the first boundary of a decayed metric.
    assert found["train"][0]["click.auc"] is None and found["train"][-1]["click.auc"] > 0
    losses = found["train"][0]
    assert losses["loss"] == pytest.approx(losses["click.loss"] + losses["buy.loss"])


def test_the_report(whole):
    folder, _ = whole
    report = (folder / "report.md").read_text()
    for part in (
        "# tiny",
        "## Evaluation",
        "## Calibration",
        "## Rows",
        "## Unseen values",
        "## Again",
    ):
        assert part in report
    assert "| 2,700 | 2,700 | 0 | 0 |" in report
    assert "graphrec train tiny.yaml" in report


@pytest.mark.parametrize("step", [1, 6, 11, 12, 21])
def test_a_resumed_run_is_the_unbroken_run(whole, tmp_path, step):
    folder, _ = whole
    copy = tmp_path / "tiny"
    shutil.copytree(folder, copy)
    for path in (copy / "checkpoints").glob("step-*"):
        if int(path.name.removeprefix("step-")) > step:
            shutil.rmtree(path)
    info = read_info(copy)
    (copy / "run.json").write_text(json.dumps({**info, "finished": False}))
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tr')
    again, said = start(copy)
    assert again == copy and f"going on from step {step}" in "\n".join(said)
    assert final(again) == final(folder)
    assert timeless(records(again)) == timeless(records(folder))
    assert "| 2,700 | 2,700 | 0 | 0 |" in (again / "report.md").read_text()


def test_the_same_seed_gives_the_same_run_in_a_new_folder(whole, tmp_path):
    folder, _ = whole
    shutil.copytree(folder, tmp_path / "tiny")
    again, _ = start(tmp_path / "tiny")
    assert again == tmp_path / "tiny-2"
    assert final(again) == final(folder)
    other, _ = start(tmp_path / "tiny", "train.seed=4")
    assert other == tmp_path / "tiny-3"
    assert final(other)["model.safetensors"] != final(folder)["model.safetensors"]


def test_evaluate_repeats_the_last_evaluation(whole):
    folder, _ = whole
    (expected,) = timeless(records(folder, "eval")[-1:])
    assert timeless([evaluate(folder)]) == [expected]
    earlier = timeless([evaluate(folder, wanted=8)])
    assert earlier == timeless([r for r in records(folder, "eval") if r["step"] == 8])
    with pytest.raises(CheckpointError, match="GR801"):
        evaluate(folder, wanted=99)
    with pytest.raises(CheckpointError, match="no best checkpoint"):
        evaluate(folder, wanted="best")
    with pytest.raises(CheckpointError, match="GR807"):
        evaluate(folder / "vocab")


def test_the_best_checkpoint_is_kept_and_evaluated(tmp_path):
    folder, said = start(tmp_path / "a", "train.save={best: auc, keep: 1}", "train.epochs=3")
    scores = [(r["click.auc"] + r["buy.auc"], -r["step"]) for r in records(folder, "eval")]
    step = -max(scores)[1]
    kept = {c.position.step for c in checkpoint.steps(folder / "checkpoints")}
    assert kept == {step, 33}
    assert evaluate(folder)["step"] == step
    assert evaluate(folder, wanted="last")["step"] == 33
    assert f"best checkpoint, step {step}" in "\n".join(said)


def test_early_stopping(tmp_path):
    rule = "train.early_stop={metric: click.loss, patience: 2}"
    folder, said = start(tmp_path / "a", rule, "train.lr=0.3", "train.epochs=30")
    losses = [r["click.loss"] for r in records(folder, "eval")]
    best = losses.index(min(losses))
    assert len(losses) == best + 3
    assert "early stop" in "\n".join(said)
    assert read_info(folder)["finished"]


def test_steps_and_accumulation(tmp_path):
    folder, _ = start(tmp_path / "a", "train.epochs=null", "train.steps=5", "train.accumulate=2")
    last = checkpoint.latest(folder / "checkpoints").position
    assert (last.step, last.trained, last.row) == (5, 1280, 1280)
    assert [r["step"] for r in records(folder, "eval")] == [4, 5]
    other, _ = start(tmp_path / "b", "train.accumulate=2")
    assert checkpoint.latest(other / "checkpoints").position.step == 12


def test_bf16_trains(tmp_path):
    folder, _ = start(tmp_path / "a", "train.precision=bf16", "train.epochs=1")
    state = checkpoint.latest(folder / "checkpoints").model()
    assert {value.dtype for value in state.values()} == {torch.float32}


def test_a_loss_that_is_not_finite_is_named(tmp_path):
    with pytest.raises(DataError, match="GR720") as caught:
        start(tmp_path / "a", "train.lr=1e30")
    (problem,) = caught.value.problems
    assert "not finite in step" in problem.message and "node `" in problem.message
    (kept,) = (tmp_path / "a").glob("not-finite-*.safetensors")
    assert str(kept) in problem.help


def test_without_evaluation_data_the_last_is_the_best(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"user": [1, 2], "item": [1, 2], "price": [0.5, 1.5], "click": [0, 1], "buy": [0, 1]}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    files = (f"data.train={tmp_path / 'rows.parquet'}", "train.batch=2", "train.epochs=1")
    with pytest.raises(DataError, match="GR721"):
        start(tmp_path / "a", *files, "train.early_stop.metric=click.auc")
    folder, said = start(tmp_path / "b", *files, "train.save.best=click.auc")
    assert "the last checkpoint counts as the best" in "\n".join(said)
    assert not records(folder, "eval") and "evaluation of" not in "\n".join(said)
    with pytest.raises(DataError, match="GR721"):
        evaluate(folder)
    rows = evaluate(folder, data=str(tmp_path / "rows.parquet"))
    assert rows["rows"] == 2 and rows["click.auc"] is not None


def test_a_folder_in_use_is_left_alone(tmp_path):
    identity = {"recipe": "a", "fingerprint": "b"}
    first = open_run(tmp_path / "r", identity)
    first.info(**identity, finished=False)
    second = open_run(tmp_path / "r", identity)
    assert second.folder == tmp_path / "r-2" and not second.resumed
    first.close()
    third = open_run(tmp_path / "r", identity)
    assert third.folder == first.folder and third.resumed
    for run in (second, third):
        run.close()


SCRIPT = """
import sys
from graphrec.compiler.pipeline import compile_recipe
from graphrec.train import train

class Console:
    quiet = True
    def result(self, text): pass
    def remark(self, text): pass

text = open(sys.argv[1]).read()
train(compile_recipe(text, overrides=sys.argv[3:]), console=Console(), run_dir=sys.argv[2])
"""


LONG = ("train.epochs=12", "train.eval_every=null", "train.save={keep: 2}")


def interrupt(folder: Path, number: int) -> checkpoint.Position:
    """Train in a process of its own, send it the signal, and see what it left."""
    recipe = folder.with_suffix(".txt")
    recipe.write_text(RECIPE)
    # The order of sums, so the last bit, depends on the number of threads.
    settings = {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(recipe), str(folder), *LONG],
        env={**os.environ, **settings},
    )
    metrics, deadline = folder / "metrics.jsonl", time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") > 2):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    position = checkpoint.latest(folder / "checkpoints").position
    assert 0 < position.step < 132 and not position.finished
    return position


def test_sigterm_saves_and_ends(tmp_path):
    interrupt(tmp_path / "tiny", signal.SIGTERM)
    assert not read_info(tmp_path / "tiny")["finished"]


def test_a_run_goes_on_after_sigint(tmp_path):
    step = interrupt(tmp_path / "tiny", signal.SIGINT).step
    folder, said = start(tmp_path / "tiny", *LONG)
    assert folder == tmp_path / "tiny" and f"going on from step {step}" in "\n".join(said)
    unbroken, _ = start(tmp_path / "whole", *LONG)
    assert final(folder) == final(unbroken)
    assert timeless(records(folder)) == timeless(records(unbroken))
