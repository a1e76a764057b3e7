"""Globs -> files, their formats, and the fingerprint of a data set."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from graphrec.data.faults import bad_data
from graphrec.errors import DataError, Problem
from graphrec.recipe.model import IdFeature
from graphrec.recipe.vocabulary import read_vocabulary

__all__ = ["Format", "fingerprint", "find_files", "format_of", "vocabulary_file"]

Format = Literal["parquet", "csv"]

_SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
}
_PACKED = {".gz", ".bz2"}
_EDGE = 1 << 16


def find_files(globs: Sequence[str], base: Path) -> list[Path]:
    """Every file that a glob matches, each once, sorted; relative globs start at `base`.

    Raises DataError for globs that match no file.
    """
    found: dict[Path, None] = {}
    problems = []
    for text in globs:
        pattern = os.path.join(base, text)
        literal = Path(pattern)
        names = [pattern] if literal.is_file() else glob.glob(pattern, recursive=True)
        files = [Path(name) for name in names if Path(name).is_file()]
        found.update(dict.fromkeys(Path(os.path.normpath(path)) for path in files))
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
    return sorted(found)


def format_of(path: Path, asked: Literal["auto", "parquet", "csv"]) -> Format:
    """The file's format: as asked, else by its suffix."""
    if asked != "auto":
        return asked
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
        return pa.array(read_vocabulary(path), pa.large_string())
    except (OSError, ValueError) as fault:
        said = f"vocabulary {path} of feature `{feature.name}`: {fault}"
        raise bad_data("GR120", said, "one value a line, each once") from None


def fingerprint(files: Iterable[Path]) -> str:
    """sha256 over each file's name, size, and Parquet footer or first and last 64 KiB.

    The order of `files` and the folder they lie in do not matter.
    """
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda p: (p.name, str(p))):
        size = path.stat().st_size
        digest.update(f"{len(path.name)}:{path.name}:{size}:".encode())
        with path.open("rb") as file:
            head = file.read(min(size, _EDGE))
            file.seek(max(0, size - _EDGE))
            tail = file.read(_EDGE)
            footer = int.from_bytes(tail[-8:-4], "little") + 8
            if tail[-4:] == b"PAR1" == head[:4] and footer <= size:
                file.seek(size - footer)
                head, tail = b"", file.read(footer)
        digest.update(head + tail)
    return digest.hexdigest()
