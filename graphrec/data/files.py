"""Globs -> files, their formats, and the fingerprint of a data set."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from graphrec.data.faults import bad_data
from graphrec.data.spelling import canonical_texts
from graphrec.ground.errors import DataError, Problem
from graphrec.recipe.model import IdFeature
from graphrec.recipe.vocabulary import read_vocabulary

__all__ = ["Format", "Watch", "fingerprint", "find_files", "format_of", "vocabulary_file"]

Format = Literal["parquet", "csv"]

_SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
}
_PACKED = {".gz", ".bz2"}
_SAMPLE = 1 << 16  # bytes
_LOOKED_AT = 64 << 20  # bytes of all files together, at least two samples of each


def find_files(globs: Sequence[str], base: Path) -> list[Path]:
    """Every file that a glob matches, each once, sorted; relative globs start at `base`.

    Raises DataError for globs that match no file.
    """
    known: dict[Path, None] = {}
    problems = []
    for text in globs:
        pattern = os.path.join(base, text)
        literal = Path(pattern)
        names = [pattern] if literal.is_file() else glob.glob(pattern, recursive=True)
        files = [Path(name) for name in names if Path(name).is_file()]
        known.update(dict.fromkeys(Path(os.path.normpath(path)) for path in files))
        if not files:
            why = "is a folder" if literal.is_dir() else "matches no file"
            text_help = (
                f"name the files in it: {text.rstrip('/')}/*.parquet"
                if literal.is_dir()
                else f"looked for {pattern}; relative paths start at the folder of the file that"
                " wrote them, those of -o at the working directory"
            )
            problems.append(Problem("GR701", f"`{text}` {why}", path="data", help=text_help))
    if problems:
        raise DataError(problems)
    return sorted(known)


def format_of(path: Path, form: Literal["auto", "parquet", "csv"]) -> Format:
    """The file's format: as asked, else by its suffix."""
    if form != "auto":
        return form
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    known = _SUFFIXES.get(suffixes[-1]) if suffixes else None
    if known is None:
        raise bad_data(
            "GR701",
            f"{path}: can't tell the format from the suffix",
            f"known here: {', '.join(_SUFFIXES)}; or say data.format: parquet | csv",
        )
    return known


def vocabulary_file(feature: IdFeature) -> Any:
    """The values of `file(path)`, Arrow texts in the order of the lines.

    Raises DataError when the file changed after the recipe was read, and is no vocabulary now.
    """
    path = str(feature.vocab.args[0])
    try:
        written = pa.array(read_vocabulary(path), pa.large_string())
        values = canonical_texts(written)
        if len(values.unique()) < len(values):
            raise ValueError(_twice(written, values))
    except (OSError, ValueError) as fault:
        what = f"vocabulary {path} of feature `{feature.name}`: {fault}"
        raise bad_data("GR120", what, "one value a line, each once") from None
    return values


def _twice(written: Any, values: Any) -> str:
    """Which two lines are one value: 14 and 14.0."""
    first: dict[str, int] = {}
    for line, value in enumerate(values.to_pylist()):
        if value in first:
            one, other = written[first[value]].as_py(), written[line].as_py()
            return f"lines {first[value] + 1} and {line + 1}, {one!r} and {other!r}, are one value"
        first[value] = line
    raise AssertionError("no value is there twice")


def fingerprint(files: Iterable[Path]) -> str:
    """sha256 over each file's name, size and bytes: all of them, or samples of 64 KiB.

    Samples lie at both ends and evenly between; of a Parquet file the footer counts, too. The order
    of `files` and the folder they lie in do not matter.
    """
    digest = hashlib.sha256()
    ordered = sorted(files, key=lambda p: (p.name, str(p)))
    samples = max(2, _LOOKED_AT // _SAMPLE // max(len(ordered), 1))
    for path in ordered:
        size = path.stat().st_size
        digest.update(f"{len(path.name)}:{path.name}:{size}:".encode())
        with path.open("rb") as file:
            if size <= samples * _SAMPLE:
                while block := file.read(1 << 20):
                    digest.update(block)
                continue
            places = [round(i * (size - _SAMPLE) / (samples - 1)) for i in range(samples)]
            for place in places:
                file.seek(place)
                digest.update(file.read(_SAMPLE))
            file.seek(size - 8)
            tail = file.read(8)
            footer = int.from_bytes(tail[:4], "little") + 8
            if tail[4:] == b"PAR1" and footer <= size:
                file.seek(size - footer)
                digest.update(file.read(footer))
    return digest.hexdigest()


@dataclass(frozen=True)
class Watch:
    """Size and time of change of files as they were opened, to tell when they change."""

    files: tuple[Path, ...]
    states: tuple[tuple[int, int], ...]
    fingerprint: str

    @classmethod
    def over(cls, files: Sequence[Path]) -> Watch:
        """Remember the files as they are now."""
        states = tuple(map(_state, files))
        return cls(tuple(files), states, fingerprint(files))

    def check(self) -> None:
        """Raise DataError (GR714) with the files that are not what they were.

        Files that were merely touched or copied again are read once more to tell.
        """
        changed = [
            path
            for path, state in zip(self.files, self.states, strict=True)
            if _state(path) != state
        ]
        if not changed or (
            all(path.is_file() for path in changed) and fingerprint(self.files) == self.fingerprint
        ):
            return
        names = ", ".join(map(str, changed[:3])) + (" and more" if len(changed) > 3 else "")
        raise bad_data(
            "GR714",
            f"{names}: changed since the run began: an epoch would mix old rows with new ones",
            "put the files back and the same command goes on; or start anew with the new ones",
        )


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (-1, -1)
    return (status.st_size, status.st_mtime_ns)
