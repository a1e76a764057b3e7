"""Rows in memory: maps, columns, data frames and Arrow tables become one thing, and a source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from graphrec.data.faults import bad_data
from graphrec.data.source import CHUNK_ROWS, Raw, Unit
from graphrec.ground.errors import DataError, Problem, nearest

__all__ = ["NoSource", "Rows", "TableSource", "as_table"]

Rows: TypeAlias = Sequence[Mapping[str, Any]] | Mapping[str, Any] | Any
"""A map per row, a map of columns, a pandas or other data frame, an Arrow table or record batch."""


def as_table(rows: Rows, columns: Sequence[str] = ()) -> pa.Table:
    """The rows as an Arrow table; of no rows at all, one with these columns.

    What one map has of `columns` every map must have, if only as None: a key that is left out may
    be misspelt, and is no null.
    A missing value is None, or NaN in a data frame. Raises DataError (GR706) for a column whose
    values are of no one kind, TypeError for what is no rows.
    """
    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    if hasattr(rows, "iloc") and hasattr(rows, "columns"):  # pandas, where NaN is null
        return pa.Table.from_pandas(rows, preserve_index=False)
    if hasattr(rows, "__arrow_c_stream__"):
        return pa.table(rows)
    if isinstance(rows, Mapping):
        return pa.table(_columns(rows))
    many = isinstance(rows, Iterable) and not isinstance(rows, str | bytes)
    maps: list[Any] = list(rows) if many else [rows]
    odd = [row for row in maps if not isinstance(row, Mapping)]
    if odd:
        raise TypeError(
            "rows are a list with a map per row, a map of columns, a data frame or an Arrow table;"
            f" got {type(odd[0]).__name__}"
        )
    if not maps:
        return pa.table({column: pa.nulls(0) for column in columns})
    names = list(dict.fromkeys(name for row in maps for name in row))
    _check_keys(maps, {column for column in columns if column in names})
    return pa.table({name: _column(name, [row.get(name) for row in maps]) for name in names})


def _check_keys(maps: Sequence[Mapping[str, Any]], wanted: set[str]) -> None:
    for number, row in enumerate(maps):
        missing = sorted(wanted - row.keys())
        if missing:
            other = sorted(str(key) for key in row.keys() - wanted)
            near = nearest(missing[0], other)
            known = f"did you mean it by `{near}`? " if near else ""
            problem = Problem(
                "GR703",
                f"row {number} of {len(maps)} has no `{missing[0]}`",
                path=f"data.{missing[0]}",
                help=f"{known}write None where there is no value",
            )
            raise DataError(problem)


def _columns(rows: Mapping[str, Any]) -> dict[str, Any]:
    lengths = {}
    for name, values in rows.items():
        if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
            raise TypeError(
                f"column `{name}` is {values!r}: a map of columns has a list or an array for each;"
                " a single row is [{...}]"
            )
        lengths[name] = len(values)
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"columns of different lengths: {told}")
    return {name: _column(name, values) for name, values in rows.items()}


def _column(name: str, values: Any) -> Any:
    if hasattr(values, "detach"):  # a torch tensor
        values = values.detach().cpu().numpy()
    if isinstance(values, np.ndarray) and values.ndim > 1:
        values = list(values)
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError) as error:
        help = "values of one kind in all rows of a column; ids beyond 64 bits as text"
        what = f"column `{name}` of the rows: {error}"
        raise DataError(Problem("GR706", what, path=f"data.{name}", help=help)) from None


class TableSource:
    """The rows of a table in memory, for the columns that are needed of it."""

    name = "the table"

    def __init__(self, table: pa.Table, uses: Mapping[str, str]) -> None:
        missing = [column for column in uses if column not in table.column_names]
        if missing:
            raise bad_data("GR703", f"no column `{missing[0]}`, which {uses[missing[0]]} needs")
        self._table = table.select(list(uses)).combine_chunks()

    @property
    def num_rows(self) -> int:
        return int(self._table.num_rows)

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(str(self._table.schema).encode())
        for batch in self._table.to_batches():
            digest.update(batch.serialize())
        return digest.hexdigest()

    def check(self) -> None:
        """Tables do not change."""

    @property
    def mixed(self) -> bool:
        return False

    def units(self) -> list[Unit]:
        rows = self.num_rows
        starts = range(0, rows, CHUNK_ROWS)
        return [Unit(0, (), start, min(CHUNK_ROWS, rows - start)) for start in starts]

    def whole(self) -> Raw:
        """All rows at once, none of them too."""
        arrays = [_one_chunk(self._table.column(name)) for name in self._table.column_names]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self._table.schema)
        return Raw(batch, self.name, 0, self.num_rows)

    def read(
        self, unit: Unit, columns: Sequence[str] | None = None, rows: int = CHUNK_ROWS
    ) -> Iterator[Raw]:
        part = self._table if columns is None else self._table.select(list(columns))
        part = part.slice(unit.start, unit.num_rows)
        arrays = [_one_chunk(part.column(name)) for name in part.column_names]
        whole = pa.RecordBatch.from_arrays(arrays, names=part.column_names)
        for start in range(0, whole.num_rows, rows):
            batch = whole.slice(start, rows)
            done = (start + batch.num_rows) / whole.num_rows
            yield Raw(batch, self.name, unit.start + start, batch.num_rows, done=done)


class NoSource(TableSource):
    """For encoders that have nothing to learn: the first who reads it is told what to give."""

    def __init__(self) -> None:
        super().__init__(pa.table({}), {})

    def units(self) -> list[Unit]:
        raise bad_data(
            "GR701",
            "the recipe learns from data (vocab: fit, quantile, zscore), and none is given",
            "encoder = graphrec.fit(recipe, data), with files, a data frame or an Arrow table",
        )


def _one_chunk(column: Any) -> Any:
    combined = column.combine_chunks()
    if not isinstance(combined, pa.ChunkedArray):
        return combined
    return combined.chunk(0) if combined.num_chunks else pa.array([], combined.type)
