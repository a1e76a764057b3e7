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

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeGuard

from torch import Tensor

from graphrec.ground.errors import CheckpointError, EnvironmentFault, Problem
from graphrec.ground.text import open_regular
from graphrec.train.slices import is_part, joined
from graphrec.train.tensors import (
    FileFacts,
    file_facts,
    read_some,
    read_tensors,
    write_bytes,
    write_tensors,
)

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

MANIFEST, MODEL, OPTIM = "manifest.json", "model.safetensors", "optim.safetensors"
SEEN = "seen/"
"""What the names of sketches of trained values (`graphrec.data.seen`) begin with."""
FORMAT = 2
_READ = (1, FORMAT)
_HIDDEN = (".saving-", ".gone-")


@dataclass
class Position:
    """Where training stands: `step` updates done, next row `row` of epoch `epoch` (from 0).

    `evaluated` says whether the evaluation due at this step is done; `counts` are those of the rows
    of whole epochs; `best` and `saved` are the best values so far for early stopping and for
    `save.best`, the latter of step `best_step`, `waited` the evaluations since `best`, `scores` the
    last evaluation's record.
    """

    step: int = 0
    epoch: int = 0
    row: int = 0
    trained: int = 0
    evaluated: bool = True
    finished: bool = False
    seconds: float = 0.0
    counts: dict[str, Any] = field(default_factory=dict)
    best: float | None = None
    saved: float | None = None
    best_step: int | None = None
    waited: int = 0
    scores: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A valid manifest and the folder it describes."""

    folder: Path
    position: Position
    recipe: str
    files: Mapping[str, FileFacts]
    run_files: Mapping[str, FileFacts] = field(default_factory=dict)

    def model(self) -> dict[str, Tensor]:
        """The module's state, after its file was checked."""
        return self._tensors(MODEL)

    def optim(self) -> dict[str, Tensor]:
        """Optimizers and everything else that changes, after its file was checked."""
        return self._tensors(OPTIM)

    def seen(self) -> dict[str, Tensor]:
        """The sketches of trained values, by table; empty where there are none.

        They serve remarks only: the file, large as it may be, is not checked for them.
        """
        return read_some(self.folder / OPTIM, SEEN)

    def check(self, name: str) -> Path:
        """The path of one of its files, which is what was saved."""
        path = self.folder / name
        try:
            facts = file_facts(path)
        except OSError as error:
            raise damaged(path, error.strerror or str(error)) from None
        if facts != self.files[name]:
            raise damaged(path, _OTHER)
        return path

    def _tensors(self, name: str) -> dict[str, Tensor]:
        files = [file for file in sorted(self.files) if is_part(file, name)]
        tensors: dict[str, Tensor] = {}
        for file in (name, *files):
            path = self.check(file)
            try:
                tensors.update(read_tensors(path))
            except ValueError as error:
                raise damaged(path, str(error)) from None
        try:
            return joined(tensors)
        except ValueError as error:
            raise damaged(self.folder, str(error)) from None


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
        write_bytes(beside / MANIFEST, iter([_text({**body, "run_files": run_files or {}})]))
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


def load(folder: Path) -> Checkpoint:
    """Read and check a manifest; CheckpointError (GR801, GR802) names what is wrong."""
    path = folder / MANIFEST
    try:
        with open_regular(path) as file:
            text = file.read()
        body = json.loads(text)
    except OSError as error:
        raise CheckpointError(
            Problem("GR801", f"no checkpoint at {folder}: {path.name}: {error.strerror}")
        ) from None
    except (ValueError, RecursionError):
        raise damaged(path, "it is not JSON") from None
    form = body.get("format") if isinstance(body, dict) else None
    if type(form) is int and form not in _READ:
        # before the hash: another version may hash otherwise
        mismatch = f"{path}: format {form}, this version of graphrec reads {FORMAT}"
        raise CheckpointError(Problem("GR804", mismatch))
    if not isinstance(body, dict) or body.pop("sha256", None) is None or _text(body) != text:
        raise damaged(path, _OTHER)
    loaded = _checkpoint(folder, body)
    if loaded is None:
        raise damaged(path, "it is not what a checkpoint says of itself")
    if folder.name != f"step-{loaded.position.step:08d}":
        raise damaged(path, f"it is that of step {loaded.position.step}, in another's place")
    return loaded


def _checkpoint(folder: Path, body: dict[str, Any]) -> Checkpoint | None:
    """The checkpoint that a manifest describes; None where something is not of its kind."""
    values = {key: body.pop(key) for key in _KINDS if key in body}
    files, run_files = body.pop("files", None), body.pop("run_files", {})
    recipe = body.pop("recipe", None)
    if body.keys() != {"format"} or "step" not in values or not isinstance(recipe, str):
        return None
    if not _are_facts(files) or not files.keys() >= {MODEL, OPTIM} or not _are_facts(run_files):
        return None
    for key, value in values.items():
        kind = _KINDS[key]
        # True is an int to Python, and no number of steps
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            return None
    return Checkpoint(folder, Position(**values), recipe, files, run_files)


def _are_facts(value: object) -> TypeGuard[dict[str, FileFacts]]:
    return isinstance(value, dict) and all(
        isinstance(facts, dict) and facts.keys() == {"bytes", "sha256"} for facts in value.values()
    )


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


def _text(body: Mapping[str, Any]) -> bytes:
    """The only way to write this manifest, with the hash of its content."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps({**body, "sha256": digest}, indent=1, sort_keys=True).encode()


def _fsync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def damaged(path: Path, why: str) -> CheckpointError:
    """The error (GR802) of a damaged file of a checkpoint."""
    return CheckpointError(
        Problem(
            "GR802",
            f"{path} is damaged: {why}",
            help=f"take another checkpoint, or remove {path.parent} to go on from the one before",
        )
    )


_OTHER = "its content is not what was saved (sha256 differs)"
_NUMBER, _VALUE = (int, float), (int, float, type(None))
_KINDS: dict[str, Any] = {
    **{f.name: int for f in fields(Position)},
    **dict.fromkeys(("evaluated", "finished"), bool),
    "seconds": _NUMBER,
    **dict.fromkeys(("best", "saved"), _VALUE),
    "best_step": (int, type(None)),
    **dict.fromkeys(("counts", "scores"), dict),
}
"""What a manifest's values of a position must be."""
