"""The folder of a run: found or made, never overwritten, resumed when the same run was cut short.

recipe.yaml model.py graph.svg report.md run.json metrics.jsonl
vocab/ stats.json checkpoints/ tensorboard/
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from graphrec.errors import CheckpointError, EnvironmentFault, Problem
from graphrec.train.checkpoint import Position

__all__ = ["Run", "open_run", "read_info", "versions", "write_text"]

INFO, METRICS, LOCK = "run.json", "metrics.jsonl", ".lock"
_PACKAGES = ("torch", "numpy", "pyarrow", "pydantic", "safetensors", "torchmetrics", "networkx")


@dataclass
class Run:
    """A run folder that this process holds; `resumed` when it was there before."""

    folder: Path
    resumed: bool = False
    records: list[dict[str, Any]] = field(default_factory=list)
    _lock: int = -1

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def info(self, **facts: Any) -> None:
        """Write run.json, whole or not at all."""
        write_text(self.folder / INFO, json.dumps(facts, indent=2, sort_keys=True) + "\n")

    def finish(self) -> None:
        """Mark the run as finished: it is not resumed any more."""
        self.info(**{**read_info(self.folder), "finished": True})

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

    def close(self) -> None:
        """Let another process have the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def open_run(base: Path, identity: Mapping[str, str]) -> Run:
    """The unfinished run of the same `identity` (recipe and data hashes) at `base`, `base-2`, ...

    or else a new folder at the first free of these names.
    """
    number = 1
    while (folder := _numbered(base, number)).exists():
        run = _resume(folder, identity)
        if run is not None:
            return run
        number += 1
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
        return Run(folder, _lock=_hold(folder))


def read_info(folder: Path) -> dict[str, Any]:
    """run.json of a run folder; CheckpointError (GR807) when there is none."""
    try:
        info = json.loads((folder / INFO).read_text(encoding="utf-8"))
        if not isinstance(info, dict):
            raise ValueError("not a map")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            Problem(
                "GR807",
                f"{folder} is no run folder: {INFO}: {error}",
                help="give the folder that `graphrec train` printed, e.g. runs/shop",
            )
        ) from None
    return info


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("graphrec", *_PACKAGES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def command_line(command: Sequence[str]) -> str:
    """The command as it can be typed again."""
    import shlex

    return shlex.join(command)


def _numbered(base: Path, number: int) -> Path:
    return base if number == 1 else base.with_name(f"{base.name}-{number}")


def _resume(folder: Path, identity: Mapping[str, str]) -> Run | None:
    try:
        info = read_info(folder)
    except CheckpointError:
        return None
    if info.get("finished") or any(info.get(key) != value for key, value in identity.items()):
        return None
    lock = _hold(folder)
    return Run(folder, resumed=True, _lock=lock) if lock >= 0 else None


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
