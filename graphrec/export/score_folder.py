"""A folder of scores: whole parts only, what is done of it, and which job it belongs to.

part-000000-0000.parquet ...   the rows, in the order of the names
_scores.json                   whose scores these are, and at the end what was counted
.done/                         while work goes on: a record of each part

A part counts as done when it has its name and its record; a record is written before the name is
given, so a process may be killed at any moment: the next one does the part again, under the same
name, with the same rows. Names that begin with `_` or `.` are no data for readers of folders.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from graphrec.data import Counts
from graphrec.export.stretches import part_name
from graphrec.ground.errors import DataError, Problem
from graphrec.ground.text import write_text

__all__ = ["MANIFEST", "ScoreFolder"]

MANIFEST = "_scores.json"
_DONE = ".done"


class ScoreFolder:
    """The folder at `path` for one `job`; begun here, or gone on with where it was left.

    Raises DataError (GR730) for a folder of another job, with other files, or in use.
    """

    def __init__(self, path: Path, job: Mapping[str, Any], ending: str) -> None:
        self.path, self.job, self.ending = path, dict(job), ending
        self.resumed = self.finished = False

    def open(self) -> int:
        """Claim the folder; the lock is held while the returned descriptor is open."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._refused(f"can't be used: {error.strerror}", "choose another folder") from (
                None
            )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise self._refused("is being written by another process", "wait for it") from None
        try:
            self._claim()
        except BaseException:
            os.close(lock)
            raise
        return lock

    def records(self, stretch: int) -> Iterator[dict[str, Any]]:
        """What was counted of the parts of a stretch that are done, up to the first that is not."""
        part = 0
        while self.place(stretch, part).exists():
            try:
                record = json.loads(self._record(stretch, part).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                return
            yield record
            part += 1

    def total(self, stretches: int) -> tuple[Counts, int]:
        """What was counted of all parts that are done, and their number."""
        if self.finished:
            manifest = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
            return Counts.of(manifest["counts"]), manifest["parts"]
        counts, parts = Counts(), 0
        for stretch in range(stretches):
            for record in self.records(stretch):
                counts.add(Counts.of(record["counts"]))
                parts += 1
        return counts, parts

    def place(self, stretch: int, part: int) -> Path:
        """Where a part comes to lie."""
        return self.path / part_name(stretch, part, self.ending)

    def note(self, stretch: int, part: int, record: Mapping[str, Any]) -> None:
        """Write a part's record; its file gets its name after this."""
        write_text(self._record(stretch, part), json.dumps(record) + "\n")

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Say that all parts are there, and forget their records."""
        if self.finished:
            return
        write_text(self.path / MANIFEST, _text({**self.job, "finished": True, **summary}))
        shutil.rmtree(self.path / _DONE)

    def _claim(self) -> None:
        manifest = self.path / MANIFEST
        if not manifest.exists():
            others = [n for n in os.listdir(self.path) if n not in (_DONE, f".{MANIFEST}.new")]
            if others:
                what = f"has other files in it, such as {sorted(others)[0]}"
                raise self._refused(what, "give a new folder, or an empty one")
            (self.path / _DONE).mkdir(exist_ok=True)
            write_text(manifest, _text({**self.job, "finished": False}))
            return
        try:
            earlier = json.loads(manifest.read_text(encoding="utf-8"))
            odd = [key for key, value in self.job.items() if earlier.get(key) != value]
        except (ValueError, AttributeError):
            raise self._refused(f"has a damaged {MANIFEST}", "give a new folder") from None
        if odd:
            what = f"holds the scores of another job: its {odd[0]} is {earlier.get(odd[0])!r}"
            help = f"here it is {self.job[odd[0]]!r}; give a new folder, or remove this one"
            raise self._refused(what, help)
        self.resumed, self.finished = True, bool(earlier["finished"])
        if not self.finished:
            (self.path / _DONE).mkdir(exist_ok=True)
            self._sweep()

    def _sweep(self) -> None:
        """Remove what killed processes left half written."""
        for folder in (self.path, self.path / _DONE):
            for path in folder.glob(".*.new"):
                path.unlink(missing_ok=True)

    def _record(self, stretch: int, part: int) -> Path:
        return self.path / _DONE / part_name(stretch, part, "json")

    def _refused(self, what: str, help: str) -> DataError:
        return DataError(Problem("GR730", f"the folder {self.path} {what}", help=help))


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
