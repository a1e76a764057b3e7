"""Values without nulls' texts -> rows of tables and numbers, for `row_reader`.

This file is part of graphrec and of every bundle it exports (there it is `values.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphrec.data.raw_cells import BadCell, Table, id_of, listed, numbers

__all__ = ["Values"]

Array = np.ndarray[Any, Any]
_NUMBERS = frozenset({int, float, bool, type(None)})


class Values:
    """The arrays of single values, by the entry of their feature; the texts of `nulls` are None."""

    def __init__(
        self,
        entries: Sequence[Mapping[str, Any]],
        tables: Mapping[str, Table],
        nulls: frozenset[str],
    ) -> None:
        self.tables, self._nulls = tables, nulls
        self._edges = {e["name"]: np.array(e["edges"]) for e in entries if "edges" in e}

    def __call__(self, entry: dict[str, Any], cells: Sequence[Any], places: Any) -> Array:
        """Rows of a table [N], or numbers [N, width]; `places` are the rows to name in errors."""
        kind = entry["kind"]
        if kind == "id":
            return self._ids(entry, cells, places)
        if kind == "bucket":
            return self._buckets(entry, cells, places)
        return self._dense(entry, cells, places)

    def _ids(self, entry: dict[str, Any], cells: Sequence[Any], places: Any) -> Array:
        table = self.tables[entry["table"]]
        unseen = table.rows - 1
        null = unseen if entry["default"] is None else table.row(str(entry["default"]))
        try:  # most values were seen before; 7, 7.0 and True, 1 are one value and one key
            rows: list[Any] = list(map(table.memo.get, cells))
        except TypeError:  # a list or map among them
            rows = [None] * len(cells)
        if None in rows:
            for number in [n for n, row in enumerate(rows) if row is None]:
                cell = cells[number]
                rows[number] = null if cell is None else _row(table, cell, entry, places[number])
        out = np.fromiter(rows, np.int64, len(rows))
        if entry["oov"] == "error":
            for place in [n for n, row in enumerate(rows) if row == unseen]:
                if cells[place] is not None:
                    why = f"is not in the vocabulary of feature `{entry['feature']}`"
                    raise BadCell(int(places[place]), entry["column"], f"{cells[place]!r} {why}")
        return out

    def _buckets(self, entry: dict[str, Any], cells: Sequence[Any], places: Any) -> Array:
        default = entry["default"]
        values = numbers(cells, 0.0 if default is None else default, entry["column"], places)
        buckets = np.searchsorted(self._edges[entry["name"]], values, side="right")
        if default is None:
            nulls = [number for number, cell in enumerate(cells) if cell is None]
            buckets[nulls] = self.tables[entry["table"]].rows - 1
        return buckets.astype(np.int64)

    def _dense(self, entry: dict[str, Any], cells: Sequence[Any], places: Any) -> Array:
        """Transformed numbers [N, width], float32."""
        width, column, null = entry["width"], entry["column"], entry["null"]
        sep = entry.get("inner_sep" if entry["form"] == "sequence" else "sep")
        if width == 1 and set(map(type, cells)) <= _NUMBERS:
            values = numbers(cells, null[0], column, places)[:, None]
        else:
            flat: list[Any] = []
            for number, cell in enumerate(cells):
                several = listed(cell, sep, self._nulls)
                one = (cell,) if several is None else several
                one = (None,) * width if cell is None else one
                if len(one) != width:
                    raise BadCell(int(places[number]), column, f"{cell!r} has not {width} numbers")
                flat.extend(one)
            each = np.repeat(np.asarray(places, np.int64), width)
            values = numbers(flat, 0.0, column, each).reshape(len(cells), width)
            missing = np.array([cell is None for cell in flat], bool).reshape(values.shape)
            values = np.where(missing, null, values)
        if entry["transform"] == "log1p":
            values = np.copysign(np.log1p(np.abs(values)), values)
        elif "shift" in entry:
            values = (values - np.array(entry["shift"])) * np.array(entry["factor"])
        with np.errstate(over="ignore"):
            result = values.astype(np.float32)
        if not np.isfinite(result).all():
            place = int(np.flatnonzero(~np.isfinite(result).all(axis=1))[0])
            why = f"{cells[place]!r} does not fit in 32 bits"
            raise BadCell(int(places[place]), column, why)
        return result


def _row(table: Table, cell: Any, entry: Mapping[str, Any], place: Any) -> int:
    try:
        return table.row(cell if type(cell) is str else id_of(cell))
    except (ValueError, OverflowError) as why:
        raise BadCell(int(place), entry["column"], f"{cell!r} {why}") from None
