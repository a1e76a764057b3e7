"""Checkpoints: folders `step-00001234` that are whole or do not exist.

    model.safetensors   the module's state_dict
    optim.safetensors   optimizers, random state, decayed metrics
    manifest.json       step, position in the data, progress, sha256 of each file and of itself

A checkpoint is written beside its place, fsynced, and renamed; then the folder above is fsynced.
"latest" is the newest with a valid manifest. Nothing in it is code, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from graphrec.errors import CheckpointError, Problem
from graphrec.train.tensors import read_tensors, write_bytes, write_tensors

__all__ = ["Checkpoint", "Position", "best", "latest", "load", "prune", "save", "steps", "sweep"]

MANIFEST, MODEL, OPTIM = "manifest.json", "model.safetensors", "optim.safetensors"
FORMAT = 1
_HIDDEN = (".saving-", ".gone-")


@dataclass
class Position:
    """Where training stands: `step` updates done, next row `row` of epoch `epoch` (from 0).

    `evaluated` says whether the evaluation due at this step is done; `counts` are those of the rows
    of whole epochs; `best` and `saved` are the best values so far for early stopping and for
    `save.best`, `waited` the evaluations since `best`, `scores` the last evaluation's record.
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
    waited: int = 0
    scores: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A valid manifest and the folder it describes."""

    folder: Path
    position: Position
    recipe: str
    files: Mapping[str, Mapping[str, Any]]

    def model(self) -> dict[str, Tensor]:
        """The module's state, after its file was checked."""
        return self._tensors(MODEL)

    def optim(self) -> dict[str, Tensor]:
        """Optimizers and everything else that changes, after its file was checked."""
        return self._tensors(OPTIM)

    def _tensors(self, name: str) -> dict[str, Tensor]:
        path = self.folder / name
        try:
            found = _facts(path)
        except OSError as error:
            raise _damaged(path, error.strerror or str(error)) from None
        if found != dict(self.files[name]):
            raise _damaged(path, "its content is not what was saved (sha256 differs)")
        return read_tensors(path)


def save(
    parent: Path,
    model: Mapping[str, Tensor],
    optim: Mapping[str, Tensor],
    position: Position,
    recipe: str,
) -> Path:
    """Write a checkpoint below `parent`; CheckpointError (GR803) when the disk does not take it."""
    parent.mkdir(parents=True, exist_ok=True)
    target = parent / f"step-{position.step:08d}"
    beside = parent / f".saving-{target.name}"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        files = {
            MODEL: write_tensors(beside / MODEL, model),
            OPTIM: write_tensors(beside / OPTIM, optim),
        }
        body = {"format": FORMAT, "recipe": recipe, **asdict(position), "files": files}
        write_bytes(beside / MANIFEST, iter([_text(body)]))
        _fsync(beside)
        if target.exists():
            _discard(target)
        beside.rename(target)
        _fsync(parent)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise CheckpointError(
            Problem(
                "GR803",
                f"can't save {target}: {error.strerror or error}",
                help="free some space; the checkpoint before it is intact, and is gone on from",
            )
        ) from error
    return target


def load(folder: Path) -> Checkpoint:
    """Read and check a manifest; CheckpointError (GR801, GR802) names what is wrong."""
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
        body = json.loads(text)
    except OSError as error:
        raise CheckpointError(
            Problem("GR801", f"no checkpoint at {folder}: {path.name}: {error.strerror}")
        ) from None
    except (ValueError, RecursionError):
        raise _damaged(path, "it is not JSON") from None
    if isinstance(body, dict) and type(form := body.get("format")) is int and form != FORMAT:
        # before the hash: another version may hash otherwise
        said = f"{path}: format {form}, this version of graphrec reads {FORMAT}"
        raise CheckpointError(Problem("GR804", said))
    if not isinstance(body, dict) or body.pop("sha256", None) is None or _text(body) != text:
        raise _damaged(path, "its content is not what was saved (sha256 differs)")
    del body["format"]
    files, recipe = body.pop("files"), body.pop("recipe")
    return Checkpoint(folder, Position(**body), recipe, files)


def steps(parent: Path) -> list[Checkpoint]:
    """All checkpoints with a valid manifest, oldest first."""
    found = [load(path) for path in sorted(parent.glob("step-*")) if _valid(path)]
    return sorted(found, key=lambda checkpoint: checkpoint.position.step)


def latest(parent: Path) -> Checkpoint | None:
    """The newest checkpoint with a valid manifest."""
    found = steps(parent)
    return found[-1] if found else None


def best(parent: Path, keys: list[str], higher: bool) -> Checkpoint | None:
    """The checkpoint whose evaluation has the best mean of `keys`; the earliest among equals."""
    scored = []
    for checkpoint in steps(parent):
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


def prune(parent: Path, keep: int, spare: Checkpoint | None) -> None:
    """Remove all but the newest `keep` checkpoints and the one to `spare`."""
    for checkpoint in steps(parent)[:-keep]:
        if spare is None or checkpoint.folder != spare.folder:
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


def _valid(folder: Path) -> bool:
    try:
        load(folder)
    except CheckpointError:
        return False
    return True


def _facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return {"bytes": file.tell(), "sha256": digest.hexdigest()}


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


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        Problem(
            "GR802",
            f"{path} is damaged: {why}",
            help=f"take another checkpoint, or remove {path.parent} to go on from the one before",
        )
    )
