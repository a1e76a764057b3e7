"""A checkpoint's manifest: what it says of its files, and how it is read and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeGuard

from torch import Tensor

from graphrec.ground.errors import CheckpointError, Problem
from graphrec.ground.text import open_regular
from graphrec.train.slices import is_part, joined
from graphrec.train.tensors import (
    FileFacts,
    file_facts,
    read_some,
    read_tensors,
)

__all__ = [
    "FORMAT",
    "MANIFEST",
    "MODEL",
    "OPTIM",
    "SEEN",
    "Checkpoint",
    "Position",
    "damaged",
    "load",
    "manifest_text",
]

MANIFEST, MODEL, OPTIM = "manifest.json", "model.safetensors", "optim.safetensors"


SEEN = "seen/"
"""What the names of sketches of trained values (`graphrec.data.seen`) begin with."""


FORMAT = 2


_READ = (1, FORMAT)


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
    if (
        not isinstance(body, dict)
        or body.pop("sha256", None) is None
        or manifest_text(body) != text
    ):
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


def manifest_text(body: Mapping[str, Any]) -> bytes:
    """The only way to write this manifest, with the hash of its content."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps({**body, "sha256": digest}, indent=1, sort_keys=True).encode()


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
