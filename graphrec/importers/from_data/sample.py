"""Rows to look at: all of a small data set, pieces of a large one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphrec.data.faults import bad_data
from graphrec.data.files import find_files, format_of

__all__ = ["ROWS", "Sample", "evaluation_files", "take"]

ROWS = 200_000
"""Rows looked at."""
_FILES = 8
_EVALUATION = ("valid", "validation", "eval", "dev", "test")


@dataclass(frozen=True)
class Sample:
    """Rows of some files, how many there are in all (None: not counted), and the CSV mark."""

    table: Any
    total: int | None
    sep: str = ","

    @property
    def whole(self) -> bool:
        """Whether these are all rows."""
        return self.total is not None and self.total <= len(self.table)


def take(pattern: str) -> Sample:
    """Rows of the Parquet or CSV files of a glob; DataError when there are none."""
    files = find_files([pattern], Path.cwd())
    step = max(1, len(files) // _FILES)
    chosen = files[::step][:_FILES]
    each = ROWS // len(chosen)
    import pyarrow as pa

    sep, total = ",", 0 if len(chosen) == len(files) else None
    tables = []
    for path in chosen:
        if format_of(path, "auto") == "csv":
            sep = _separator(path)
            table, count = _csv(path, sep, each)
        else:
            table, count = _parquet(path, each)
        tables.append(table)
        total = None if total is None or count is None else total + count
    try:
        table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        raise bad_data("GR705", f"the files disagree: {error}") from None
    if not len(table):
        raise bad_data("GR712", f"`{pattern}` has no rows")
    return Sample(table, total, sep)


def evaluation_files(pattern: str) -> str | None:
    """The evaluation files that lie beside training files: `valid` where these say `train`."""
    words = list(re.finditer(r"train(ing)?", pattern))
    if not words:
        return None
    match = words[-1]
    import glob

    for word in _EVALUATION:
        candidate = f"{pattern[: match.start()]}{word}{pattern[match.end() :]}"
        if glob.glob(candidate, recursive=True):
            return candidate
    return None


def _parquet(path: Path, rows: int) -> tuple[Any, int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        number = file.metadata.num_row_groups
        batches, seen = [], 0
        # Rows of one user often stand together: take groups from all over the file.
        wanted = range(0, number, max(1, number // 16)) if file.metadata.num_rows > rows else None
        for batch in file.iter_batches(row_groups=None if wanted is None else list(wanted)):
            batches.append(batch)
            seen += len(batch)
            if seen >= rows:
                break
        table = pa.Table.from_batches(batches, file.schema_arrow)
        return table.slice(0, rows), file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        fault = " ".join(str(error).split())[:200]
        raise bad_data("GR702", f"{path} can't be read: {fault}") from None


def _csv(path: Path, sep: str, rows: int) -> tuple[Any, int | None]:
    import pyarrow as pa
    from pyarrow import csv

    parse = csv.ParseOptions(delimiter=sep, newlines_in_values=True)
    batches, seen = [], 0
    try:
        with csv.open_csv(path, parse_options=parse) as reader:
            for batch in reader:
                batches.append(batch)
                seen += len(batch)
                if seen >= rows:
                    return pa.Table.from_batches(batches).slice(0, rows), None
            return pa.Table.from_batches(batches, reader.schema), seen
    except (pa.ArrowException, OSError) as error:
        fault = " ".join(str(error).split())[:200]
        raise bad_data("GR702", f"{path} can't be read: {fault}") from None


def _separator(path: Path) -> str:
    if ".tsv" in path.suffixes:
        return "\t"
    if path.suffix != ".csv":
        return ","
    with path.open("rb") as file:
        head = file.readline(1 << 16)
    counts = {mark: head.count(mark.encode()) for mark in ",;\t|"}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] else ","
