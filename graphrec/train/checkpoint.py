"""Checkpoints: folders `step-00001234` that are whole or do not exist.

    model.safetensors   the module's state_dict
    optim.safetensors   optimizers, random state, decayed metrics
    model-00001-of-00004.safetensors, optim-...   parts of tables, where four processes trained
    manifest.json       step, position in the data, progress, sha256 of each file, of the run's own
                        files (`run_files`: recipe, vocabularies, statistics), and of itself

A checkpoint is written beside its place, fsynced, and renamed; then the folder above is fsynced.
"latest" is the newest with a valid manifest. Nothing in it is code, and nothing is unpickled.
Format 1 had neither `run_files` nor `best_step`; it is still read.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from graphrec.ground.errors import CheckpointError, EnvironmentFault, Problem
from graphrec.train.manifest import (
    FORMAT,
    MANIFEST,
    MODEL,
    OPTIM,
    Checkpoint,
    Position,
    damaged,
    load,
    manifest_text,
)
from graphrec.train.tensors import FileFacts, write_bytes, write_tensors

__all__ = [
    "Checkpoint",
    "Position",
    "Survey",
    "best",
    "damaged",
    "latest",
    "load",
    "prune",
    "save",
    "steps",
    "survey",
    "sweep",
]

_HIDDEN = (".saving-", ".gone-")


@dataclass(frozen=True)
class Survey:
    """The checkpoints of a run, oldest first: those with a valid manifest, and what ails others."""

    whole: tuple[Checkpoint, ...]
    damaged: Mapping[int, CheckpointError]

    @property
    def newest(self) -> Checkpoint | None:
        """The newest with a valid manifest."""
        return self.whole[-1] if self.whole else None

    def newer(self) -> list[CheckpointError]:
        """What ails those that come after the newest whole one, the newest first."""
        last = self.newest.position.step if self.newest else -1
        return [self.damaged[step] for step in sorted(self.damaged, reverse=True) if step > last]


def save(
    parent: Path,
    model: Mapping[str, Tensor],
    optim: Mapping[str, Tensor],
    position: Position,
    recipe: str,
    run_files: Mapping[str, FileFacts] | None = None,
    parts: Callable[[Path], Mapping[str, FileFacts]] | None = None,
) -> Path:
    """Write a checkpoint below `parent`; EnvironmentFault (GR803) where the disk takes it not.

    `run_files` are facts of the run's own files, by their names in the run folder. `parts` writes
    what other processes hold into the folder it is given, and returns the facts of its files.
    """
    parent.mkdir(parents=True, exist_ok=True)
    target = parent / f"step-{position.step:08d}"
    beside = parent / f".saving-{target.name}"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        files = {
            MODEL: write_tensors(beside / MODEL, model),
            OPTIM: write_tensors(beside / OPTIM, optim),
            **(parts(beside) if parts is not None else {}),
        }
        body = {"format": FORMAT, "recipe": recipe, **asdict(position), "files": files}
        write_bytes(
            beside / MANIFEST, iter([manifest_text({**body, "run_files": run_files or {}})])
        )
        _fsync(beside)
        if target.exists():
            _discard(target)
        beside.rename(target)
        _fsync(parent)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise EnvironmentFault(
            Problem(
                "GR803",
                f"can't save {target}: {error.strerror or error}",
                help="free some space; the checkpoint before it is intact, and the same command "
                "goes on from there",
            )
        ) from error
    return target


def survey(parent: Path) -> Survey:
    """Every checkpoint below `parent`, whole or not."""
    whole, ill = [], {}
    for path in parent.glob("step-*"):
        step = path.name.removeprefix("step-")
        if step.isascii() and step.isdecimal():
            try:
                whole.append(load(path))
            except CheckpointError as error:
                ill[int(step)] = error
    return Survey(tuple(sorted(whole, key=lambda c: c.position.step)), ill)


def steps(parent: Path) -> list[Checkpoint]:
    """All checkpoints with a valid manifest, oldest first."""
    return list(survey(parent).whole)


def latest(parent: Path) -> Checkpoint | None:
    """The newest checkpoint with a valid manifest."""
    return survey(parent).newest


def best(parent: Path, keys: list[str], higher: bool) -> Checkpoint | None:
    """The checkpoint whose evaluation has the best mean of `keys`; the earliest among equals.

    Raises CheckpointError where that one is damaged, or a damaged one might be it.
    """
    all_of_them = survey(parent)
    newest = all_of_them.newest
    for error in all_of_them.newer():
        raise error
    if newest is not None and newest.position.best_step is not None:
        return load(parent / f"step-{newest.position.best_step:08d}")
    for error in all_of_them.damaged.values():
        raise error
    scored = []
    for checkpoint in all_of_them.whole:
        value = mean_of(checkpoint.position.scores, keys)
        if value is not None and checkpoint.position.scores["step"] == checkpoint.position.step:
            scored.append((-value if higher else value, checkpoint.position.step, checkpoint))
    return min(scored, key=lambda entry: entry[:2])[2] if scored else None


def mean_of(record: Mapping[str, Any], keys: list[str]) -> float | None:
    """Mean of these numbers of an evaluation record; None if one of them is not available."""
    values = [record.get(key) for key in keys]
    if not values or any(value is None for value in values):
        return None
    return sum(float(value) for value in values if value is not None) / len(values)


def prune(parent: Path, keep: int, spare: int | None) -> None:
    """Remove all but the newest `keep` checkpoints and that of the step to `spare`."""
    for checkpoint in steps(parent)[:-keep]:
        if checkpoint.position.step != spare:
            _discard(checkpoint.folder)


def sweep(parent: Path) -> None:
    """Remove what an interrupted save or removal left behind."""
    for path in parent.iterdir() if parent.is_dir() else ():
        if path.name.startswith(_HIDDEN):
            shutil.rmtree(path, ignore_errors=True)


def _discard(folder: Path) -> None:
    """Take a folder away in one move, so that nobody sees half of it, then delete it."""
    gone = folder.with_name(f".gone-{folder.name}")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _fsync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
