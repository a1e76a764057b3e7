"""Results of a search as one file: written beside its place, and moved there when it is whole."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import pyarrow.csv as pc
import pyarrow.parquet as pq

__all__ = ["ResultFile"]


class ResultFile:
    """Takes Arrow tables of one schema; counts their rows, and the queries they answer."""

    def __init__(self, target: Any, form: Literal["csv", "parquet"]) -> None:
        self._target, self._form = target, form
        self._writer: Any = None
        self._place: Path | None = None
        self.rows = self.queries = 0

    @classmethod
    def at(cls, path: str) -> ResultFile:
        """A file, its form by its suffix."""
        place = Path(path)
        beside = place.with_name(f".{place.name}.part")
        file = cls(beside, "csv" if place.suffix == ".csv" else "parquet")
        file._place = place
        return file

    def write(self, table: Any) -> None:
        """Add the rows of a table."""
        if self._writer is None:
            make = pc.CSVWriter if self._form == "csv" else pq.ParquetWriter
            self._writer = make(self._target, table.schema)
        self._writer.write_table(table)
        self.rows += table.num_rows
        self.queries += len(table.column("row").unique())

    def __enter__(self) -> ResultFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._place is None or self._writer is None:
            return
        if error is None:
            os.replace(self._target, self._place)
        else:
            self._target.unlink(missing_ok=True)
