"""Checkpoints beside training: by the clock, of one moment, told when the disk is full."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from graphrec.compiler.pipeline import compile_recipe
from graphrec.ground.errors import EnvironmentFault
from graphrec.train import checkpoint, saving, train
from graphrec.train.checkpoint import Position
from graphrec.train.saving import Saver, State

RECIPE = """
graphrec: 1
name: tiny
data: {synthetic: 2000, workers: 0}
features: [{type: id, names: item, vocab: 20, dim: 4}]
graph: {deep: {block: mlp, in: all, hidden: [4], dropout: 0.1}}
tasks: {click: {label: click, in: deep}}
train: {batch: 60, save: {keep: 99}}
"""


class Silent:
    quiet = True

    def result(self, text: str) -> None: ...

    remark = result


def run(folder: Path, *overrides: str) -> dict[str, torch.Tensor]:
    """The last state of a run of 30 updates."""
    train(compile_recipe(RECIPE, overrides=overrides), console=Silent(), run_dir=folder)
    last = checkpoint.latest(folder / "checkpoints")
    assert last is not None
    return {**last.model(), **last.optim()}


def state(value: float) -> State:
    return {"w": torch.full((1000,), value)}, {"n": torch.tensor(value)}


def test_training_does_not_notice_its_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(tmp_path / "plain", "train.save.minutes=0")
    assert [c.position.step for c in checkpoint.steps(tmp_path / "plain" / "checkpoints")] == [30]
    monkeypatch.setattr(saving, "_SHARE", 0)
    saved = run(tmp_path / "saved", "train.save.minutes=1e-9")
    steps = [c.position.step for c in checkpoint.steps(tmp_path / "saved" / "checkpoints")]
    assert steps == list(range(1, 31))
    assert saved.keys() == plain.keys()
    assert all(torch.equal(value, plain[name]) for name, value in saved.items())


def test_the_clock_and_the_share_of_time(tmp_path: Path) -> None:
    saver = Saver(tmp_path, "hash", 3, minutes=0.001)
    assert not saver.due
    time.sleep(0.08)
    assert saver.due
    saver.save(state(1.0), Position(step=1), wait=True)
    assert not saver.due
    saver._took = 60.0  # a large model: its next one is 40 minutes away
    time.sleep(0.08)
    assert not saver.due
    assert not Saver(tmp_path, "hash", 3, minutes=0).due


@pytest.mark.parametrize("memory", [float("inf"), 0.0])
def test_a_checkpoint_is_of_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: float
) -> None:
    monkeypatch.setattr(saving, "_free_memory", lambda: memory)
    saver, live, position = Saver(tmp_path, "hash", 3, minutes=5), state(1.0), Position(step=1)
    saver.save(live, position, wait=False)
    live[0]["w"].fill_(2.0)
    position.step, position.counts["x"] = 2, 1
    saver.wait()
    found = checkpoint.latest(tmp_path)
    assert found is not None and found.position == Position(step=1)
    assert torch.equal(found.model()["w"], torch.ones(1000))
    assert saver.written == 1 and saver.writing > 0


def full_disk(monkeypatch: pytest.MonkeyPatch, ok: int = 0) -> None:
    """Let new files below `checkpoints` fail, behind the first `ok`."""
    opened, count = Path.open, 0

    def refuse(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        if "x" in mode:
            count += 1
            if count > ok:
                raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)


def test_what_a_checkpoint_meets_behind_training_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = Saver(tmp_path, "hash", 3, minutes=5)
    saver.save(state(1.0), Position(step=1), wait=False)
    saver.wait()
    with monkeypatch.context() as patched:
        full_disk(patched)
        saver.save(state(2.0), Position(step=2), wait=False)
        saver.settle()
        with pytest.raises(EnvironmentFault, match="GR803"):
            _ = saver.due
    saver.save(state(3.0), Position(step=3), wait=True)
    assert [c.position.step for c in checkpoint.steps(tmp_path)] == [1, 3]


@pytest.mark.parametrize("ok", [3, 5, 8])
def test_a_run_on_a_full_disk_ends_and_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ok: int
) -> None:
    often = "train.save.every=3"
    whole = run(tmp_path / "whole", often)
    with monkeypatch.context() as patched:
        full_disk(patched, ok)
        with pytest.raises(EnvironmentFault, match="GR803") as caught:
            run(tmp_path / "run", often)
    assert caught.value.exit_status == 4
    again = run(tmp_path / "run", often)
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
