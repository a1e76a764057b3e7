"""The folder of a run: found or made, never overwritten, resumed when the same run was cut short.

recipe.yaml model.py graph.svg report.md report.html run.json metrics.jsonl
vocab/ stats.json checkpoints/ tensorboard/
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from graphrec.ground.errors import CheckpointError, EnvironmentFault, Problem
from graphrec.ground.text import open_regular, write_text
from graphrec.train.checkpoint import Position

__all__ = ["Run", "open_run", "read_info", "versions"]

INFO, METRICS, LOCK = "run.json", "metrics.jsonl", ".lock"
FORMAT = 2
_PACKAGES = ("torch", "numpy", "pyarrow", "pydantic", "safetensors", "torchmetrics", "networkx")


@dataclass
class Run:
    """A run folder that this process holds; `resumed` when it was there before."""

    folder: Path
    resumed: bool = False
    records: list[dict[str, Any]] = field(default_factory=list)
    _lock: int = -1
    _made: Sequence[Path] = ()

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def info(self, **facts: Any) -> None:
        """Write run.json with its own hash, whole or not at all."""
        body = {**facts, "format": FORMAT}
        text = json.dumps(body | {"sha256": _digest(body)}, indent=2, sort_keys=True)
        write_text(self.folder / INFO, text + "\n")

    def finish(self, **facts: Any) -> None:
        """Mark the run as finished, with more facts: it is not resumed any more."""
        self.info(**{**read_info(self.folder), **facts, "finished": True})

    def record(self, record: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        self.records.append(dict(record))
        with (self.folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def rewind(self, position: Position | None) -> None:
        """Drop the lines written after the checkpoint that training goes on from."""
        self.records = [
            r for r in _lines(self.folder / METRICS) if position and _is_past(r, position)
        ]
        write_text(self.folder / METRICS, "".join(json.dumps(r) + "\n" for r in self.records))

    def discard_unused(self) -> None:
        """Remove a folder that a start which failed has made, and nothing was trained in."""
        if self.resumed or any(map(_is_work, self.folder.iterdir())):
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        for parent in self._made:
            try:
                parent.rmdir()  # only where it is empty
            except OSError:
                return

    def close(self) -> None:
        """Let another process have the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def open_run(
    base: Path, identity: Mapping[str, str], say: Callable[[str], None] = lambda text: None
) -> Run:
    """The unfinished run of the same `identity` (hashes of recipe, data, ...) at `base`, `base-2`..

    or else a new folder at the first free of these names; then `say` tells why. Raises
    CheckpointError where the folder that would be resumed has a damaged run.json.
    """
    number, reasons = 1, []
    while (folder := _numbered(base, number)).exists():
        resumed = _resume(folder, identity)
        if isinstance(resumed, Run):
            return resumed
        reasons.append(f"{folder} {resumed}")
        number += 1
    parents = [parent for parent in base.parents if not parent.exists()]
    while True:
        folder = _numbered(base, number)
        number += 1
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue  # another process was faster
        except OSError as error:
            raise EnvironmentFault(
                Problem("GR806", f"can't make the run folder {folder}: {error.strerror}")
            ) from None
        if reasons:
            say(f"{', '.join(reasons)}: this run goes to {folder}")
        return Run(folder, _lock=_hold(folder), _made=parents)


def read_info(folder: Path) -> dict[str, Any]:
    """run.json of a run folder; CheckpointError (GR807) where there is none, or a damaged one."""
    path = folder / INFO
    try:
        with open_regular(path) as file:
            info = json.loads(file.read().decode("utf-8"))
    except FileNotFoundError:
        raise _no_run(folder, f"it has no {INFO}") from None
    except OSError as error:
        raise _no_run(folder, f"{INFO}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise _damaged(path) from None
    if not isinstance(info, dict):
        raise _damaged(path)
    # runs of format 1 had neither a format nor a hash
    if {"sha256", "format"} & info.keys() and info.get("sha256") != _digest(info):
        raise _damaged(path)
    if not info.keys() >= {"recipe", "fingerprint", "finished"}:
        raise _damaged(path)
    return info


def _digest(info: Mapping[str, Any]) -> str:
    """The hash of what run.json says, less whether the run is finished."""
    facts = {key: value for key, value in info.items() if key not in ("sha256", "finished")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _no_run(folder: Path, why: str) -> CheckpointError:
    return CheckpointError(
        Problem(
            "GR807",
            f"{folder} is no run folder: {why}",
            help="give the folder that `graphrec train` printed, e.g. runs/shop",
        )
    )


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(
        Problem(
            "GR807",
            f"{path} is damaged: its content is not what was written",
            help="bring it back from a copy, or train into another folder: --run DIR",
        )
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    versions_of = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("graphrec", *_PACKAGES):
        try:
            versions_of[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions_of[package] = "not installed"
    return versions_of


def command_line(command: Sequence[str]) -> str:
    """The command as it can be typed again."""
    import shlex

    return shlex.join(command)


def _numbered(base: Path, number: int) -> Path:
    return base if number == 1 else base.with_name(f"{base.name}-{number}")


def _resume(folder: Path, identity: Mapping[str, str]) -> Run | str:
    """The run to go on with, or why this folder is not it."""
    if not folder.is_dir():
        return "is a file"
    if not (folder / INFO).exists():
        return "is no run folder"
    info = read_info(folder)
    # what an older version did not write down can't differ
    other = [key for key, value in identity.items() if info.get(key, value) != value]
    if other:
        return f"is of {_OTHER.get(other[0], 'another run')}"
    if info["finished"]:
        return "holds a finished run"
    lock = _hold(folder)
    return Run(folder, resumed=True, _lock=lock) if lock >= 0 else "is in use by another process"


_OTHER = {
    "recipe": "another recipe",
    "fingerprint": "other data",
    "lock": "other kernels (kernels.lock)",
}


def _is_work(path: Path) -> bool:
    """Whether a file of a run folder is worth keeping where a start has failed."""
    if path.name == "checkpoints":
        return any(child.name.startswith("step-") for child in path.iterdir())
    return path.name.startswith("not-finite-") or (path.name == METRICS and path.stat().st_size > 0)


def _hold(folder: Path) -> int:
    """An exclusive lock on the folder for as long as the process lives; -1 if another has it."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file whose last one may be cut short."""
    lines: Iterable[str] = path.read_text(encoding="utf-8").split("\n") if path.exists() else ()
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def _is_past(record: Mapping[str, Any], position: Position) -> bool:
    step = record.get("step")
    if not isinstance(step, int) or step > position.step:
        return False
    return step < position.step or record.get("kind") == "train" or position.evaluated
