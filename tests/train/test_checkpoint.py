"""Checkpoints are whole or absent, and damage is found: deaths, full disks and flipped bits."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from graphrec.ground.errors import CheckpointError, EnvironmentFault
from graphrec.train import checkpoint, tensors
from graphrec.train.checkpoint import Position

STATE = {
    "deep.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "deep.half": torch.ones(3, dtype=torch.bfloat16),
    "steps": torch.tensor(7),
    "empty": torch.zeros(0, 4),
}


def save(parent: Path, step: int, **more: Any) -> Path:
    optim = {"random/cpu": torch.get_rng_state(), "optim/updates": torch.tensor(step)}
    model = {**STATE, "deep.weight": STATE["deep.weight"] + step}
    return checkpoint.save(parent, model, optim, Position(step=step, **more), "hash")


def test_what_is_saved_is_read_again(tmp_path):
    save(tmp_path, 1, row=5, scores={"step": 1, "ctr.auc": 0.5}, best=0.25)
    found = checkpoint.latest(tmp_path)
    assert found.position == Position(step=1, row=5, scores={"step": 1, "ctr.auc": 0.5}, best=0.25)
    assert found.recipe == "hash"
    model = found.model()
    assert model.keys() == STATE.keys()
    assert torch.equal(model["deep.weight"], STATE["deep.weight"] + 1)
    assert model["deep.half"].dtype == torch.bfloat16 and model["empty"].shape == (0, 4)
    assert torch.equal(found.optim()["random/cpu"], torch.get_rng_state())
    library = load_file(found.folder / "model.safetensors")
    assert all(torch.equal(library[name], value) for name, value in model.items())


def test_the_newest_are_kept_and_the_best(tmp_path):
    for step, auc in enumerate([0.5, 0.8, 0.6, 0.7, None], 1):
        save(tmp_path, step, scores={"step": step, "ctr.auc": auc})
        best = checkpoint.best(tmp_path, ["ctr.auc"], higher=True)
        checkpoint.prune(tmp_path, 2, best.position.step)
    assert [c.position.step for c in checkpoint.steps(tmp_path)] == [2, 4, 5]
    assert checkpoint.best(tmp_path, ["ctr.auc"], higher=True).position.step == 2
    assert checkpoint.best(tmp_path, ["ctr.auc"], higher=False).position.step == 4


def counting(act: Callable[[], None]) -> None:
    """Let `act` be called before every call that touches the disk."""

    def before(call):
        def wrapped(*args, **kwargs):
            act()
            return call(*args, **kwargs)

        return wrapped

    class File:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, piece):
            act()
            self.file.write(bytes(piece)[: len(piece) // 2])
            self.file.flush()
            act()
            self.file.write(bytes(piece)[len(piece) // 2 :])

        def __getattr__(self, name):
            return getattr(self.file, name)

    opened = Path.open

    def open_counted(path, mode="r", *args, **kwargs):
        if "x" not in mode:
            return opened(path, mode, *args, **kwargs)
        act()
        return File(opened(path, mode, *args, **kwargs))

    for owner, name in (
        (os, "fsync"),
        (Path, "rename"),
        (Path, "mkdir"),
        (shutil, "rmtree"),
    ):
        setattr(owner, name, before(getattr(owner, name)))
    Path.open = open_counted


def in_child(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def three_saves(parent: Path, limit: int, fail: Callable[[], None]) -> Callable[[], None]:
    def work() -> None:
        calls = 0

        def act() -> None:
            nonlocal calls
            calls += 1
            if calls == limit:
                fail()

        counting(act)
        for step in (1, 2, 3):
            save(parent, step)
            checkpoint.prune(parent, 1, None)

    return work


def test_killed_at_every_call_of_three_saves(tmp_path):
    seen = set()
    for limit in range(1, 500):
        parent = tmp_path / str(limit)
        status = in_child(three_saves(parent, limit, lambda: os._exit(9)))
        found = checkpoint.latest(parent)
        seen.add(found.position.step if found else 0)
        if found:
            expected = STATE["deep.weight"] + found.position.step
            assert torch.equal(found.model()["deep.weight"], expected), limit
        checkpoint.sweep(parent)
        assert not list(parent.glob(".*")), limit
        save(parent, 3)
        assert checkpoint.latest(parent).position.step == 3
        if status == 0:
            assert limit > 30 and seen == {0, 1, 2, 3}
            return
        assert status == 9
    pytest.fail("the saves never ended")


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    for limit in range(1, 500):
        parent = tmp_path / str(limit)
        save(parent, 0)

        def full() -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def work(parent=parent, limit=limit) -> None:
            try:
                three_saves(parent, limit, full)()
            except EnvironmentFault as error:
                os._exit(3 if error.problems[0].code == "GR803" else 1)
            except OSError:
                os._exit(4)  # while old ones are removed: everything is saved already

        status = in_child(work)
        assert checkpoint.latest(parent) is not None, limit
        assert torch.equal(
            checkpoint.latest(parent).model()["deep.weight"],
            STATE["deep.weight"] + checkpoint.latest(parent).position.step,
        )
        if status == 0:
            assert limit > 30
            return
        assert status in (3, 4), (limit, status)
    pytest.fail("the saves never ended")


def test_flipped_bits_are_found_and_named(tmp_path, soak):
    save(tmp_path, 1, counts={"read": 3}, scores={"step": 1, "loss": 5e-05})
    folder = checkpoint.latest(tmp_path).folder
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        draw = random.Random(path.name)
        places = [(draw.randrange(len(whole)), 1 << draw.randrange(8)) for _ in range(150)]
        if soak:
            places = [(i, 1 << bit) for i in range(len(whole)) for bit in range(8)]
        cases = [whole[:i] + bytes([whole[i] ^ bit]) + whole[i + 1 :] for i, bit in places]
        cases += [whole[:-1], whole[: len(whole) // 2], b"", whole + b"\0", whole + b"\n"]
        for case in cases:
            path.write_bytes(case)
            with pytest.raises(CheckpointError, match=path.name):
                found = checkpoint.load(folder)
                found.model()
                found.optim()
        path.unlink()
        with pytest.raises(CheckpointError, match=path.name):
            found = checkpoint.load(folder)
            found.model()
            found.optim()
        path.write_bytes(whole)
    checkpoint.load(folder).model()


def test_a_damaged_manifest_is_no_checkpoint(tmp_path):
    save(tmp_path, 1)
    manifest = save(tmp_path, 2) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"step": 2', '"step": 9'))
    assert checkpoint.latest(tmp_path).position.step == 1
    assert save(tmp_path, 2).is_dir()
    assert checkpoint.latest(tmp_path).position.step == 2


def test_large_tensors_are_written_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "_PIECE", 1000)
    values = {"w": torch.randn(37, 41), "b": torch.randn(3).double()}
    facts = tensors.write_tensors(tmp_path / "x.safetensors", values)
    assert facts["bytes"] == (tmp_path / "x.safetensors").stat().st_size
    read = load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(read[name], value) for name, value in values.items())
