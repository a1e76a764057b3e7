"""Raw values -> the tensors of a model, with numpy and nothing else.

    features = Features.load("bundle")
    tensors = features([{"user_id": "u7", "price": 9.5, "clicked__item_id": [3, 5]}])

A row is a map from column to a value: text, number, truth value or None (null); a list of them
where a feature has several values or is a history. A column that is left out is an error.

The result maps names to arrays: a feature's own name, or `NAME.values` and `NAME.lengths` for
lists, which lie one after another; the columns of a history share the lengths of its name.

This file is part of graphrec and of every bundle it exports (there it is `features.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from graphrec.data.raw_cells import (
    BadCell,
    Table,
    equals,
    has_null_text,
    hash_bytes,
    hash_together,
    id_of,
    listed,
    numbers,
    parted,
    settled,
)
from graphrec.data.raw_values import Values

__all__ = ["BadCell", "Features", "Table"]

Array = np.ndarray[Any, Any]
Row = Mapping[str, Any]


class Features:
    """The reader of one model: `columns` of data become arrays, by the `entries` of its features.

    `spec` is what features.json holds, `tables` the tables it names.
    """

    def __init__(self, spec: Mapping[str, Any], tables: Mapping[str, Table]) -> None:
        self.entries: list[dict[str, Any]] = list(spec["entries"])
        self.tables = tables
        self._nulls = frozenset(["", *spec.get("nulls", ())])
        self._values = Values(self.entries, tables, self._nulls)
        self._histories: dict[str, list[dict[str, Any]]] = {}
        for entry in self.entries:
            if entry.get("form") == "sequence":
                self._histories.setdefault(entry["sequence"], []).append(entry)

    @classmethod
    def load(cls, folder: str | Path) -> Features:
        """The reader of a bundle."""
        spec = json.loads((Path(folder) / "features.json").read_text(encoding="utf-8"))
        tables = {}
        for name, table in spec["tables"].items():
            arrays = None
            if "file" in table:
                with np.load(Path(folder) / table["file"], allow_pickle=False) as file:
                    arrays = {key: file[key] for key in file.files}
            tables[name] = Table(table["kind"], table["rows"], arrays)
        return cls(spec, tables)

    def columns(self, side: str | None = None) -> list[str]:
        """The columns that are read, of one side or all."""
        names = [c for e in self.entries if side in (None, e["side"]) for c in _columns_of(e)]
        return sorted(set(names))

    def __call__(self, rows: Sequence[Row], side: str | None = None) -> dict[str, Array]:
        """The arrays for whole rows; with `side`, of the features of that side alone."""
        arrays: dict[str, Array] = {}
        for entry in self.entries:
            if side not in (None, entry["side"]):
                continue
            if entry["kind"] == "cross":
                arrays[entry["name"]] = self._cross(entry, rows)
            elif entry["form"] == "single":
                cells = self._cells(rows, entry["column"])
                arrays[entry["name"]] = self._values(entry, cells, range(len(cells)))
            elif entry["form"] == "multi":
                self._multi(entry, rows, arrays)
            elif entry is self._histories[entry["sequence"]][0]:
                self._history(self._histories[entry["sequence"]], rows, arrays)
        return arrays

    def score(self, request: Row, candidates: Sequence[Row]) -> dict[str, Array]:
        """The arrays for the candidates of one request; the request's own values count for both."""
        arrays = self([request], "request")
        mine = set(self.columns("request"))
        wanted = [c for c in self.columns("candidates") if c in request]
        given = {c: request[c] for c in wanted if c in mine}
        other = {c: request[c] for c in wanted if c not in mine}
        if other:
            known = {name for row in candidates for name in row}
            given |= {c: value for c, value in other.items() if c not in known}
        if given:
            candidates = [{**row, **given} for row in candidates]
        return arrays | self(candidates, "candidates")

    # ---- values --------------------------------------------------------------------------------

    def _cells(self, rows: Sequence[Row], column: str) -> list[Any]:
        try:
            cells = list(map(itemgetter(column), rows))
        except KeyError:  # a key that is left out may be misspelt, and is no null
            place = next(n for n, row in enumerate(rows) if column not in row)
            raise BadCell(place, column, "is missing; null is written as None") from None
        if has_null_text(cells, self._nulls):
            return [settled(cell, self._nulls) for cell in cells]
        return cells

    def _cross(self, entry: dict[str, Any], rows: Sequence[Row]) -> Array:
        size = self.tables[entry["table"]].rows - 1
        parts = [(part, self._cells(rows, part["column"])) for part in entry["of"]]
        out = np.empty(len(rows), np.int64)
        for number in range(len(rows)):
            hashes, null = [], False
            for part, cells in parts:
                cell = cells[number]
                cell = part["default"] if cell is None else cell
                null |= cell is None
                try:
                    hashes.append(0 if cell is None else hash_bytes(str(id_of(cell)).encode()))
                except ValueError as why:
                    raise BadCell(number, part["column"], f"{cell!r} {why}") from None
            out[number] = size if null else hash_together(hashes) % size
        return out

    # ---- lists ---------------------------------------------------------------------------------

    def _list(self, entry: dict[str, Any], cell: Any, place: int, column: str = "") -> Any:
        """The values of a cell; a number is a list of one, but no history."""
        values = listed(cell, entry.get("sep"), self._nulls, entry.get("nested", False))
        if values is None and entry["form"] == "multi" and not isinstance(cell, str | dict):
            return (cell,)
        if values is None:
            raise BadCell(place, column or entry["column"], f"{cell!r} is no list")
        return values

    def _multi(self, entry: dict[str, Any], rows: Sequence[Row], arrays: dict[str, Array]) -> None:
        cells, pad = self._cells(rows, entry["column"]), entry.get("pad")
        if pad is None and not {"weights", "inside"} & entry.keys():
            self._plain_lists(entry, cells, arrays)
            return
        beside = self._cells(rows, entry["weights"]) if "weights" in entry else None
        flat: list[Any] = []
        weights: list[Any] = []
        lengths = np.empty(len(cells), np.int64)
        for place, cell in enumerate(cells):
            inside = entry.get("inside", False)
            values = cell if inside and isinstance(cell, dict) else self._list(entry, cell, place)
            own: Any = None
            if inside:
                values, own = parted(values, self._nulls)
            elif beside is not None:
                own = self._list(entry, beside[place], place, entry["weights"])
                if len(own) != len(values):
                    why = f"has not as many weights as `{entry['column']}` has values"
                    raise BadCell(place, entry["weights"], why)
            kept = [n for n, v in enumerate(values) if v is not None and not _is(v, pad)]
            flat.extend(values[n] for n in kept)
            weights.extend(own[n] for n in kept if own is not None)
            lengths[place] = len(kept)
        places = np.repeat(np.arange(len(cells)), lengths)
        name = entry["name"]
        arrays[f"{name}.lengths"] = lengths
        arrays[f"{name}.values"] = self._values(entry, flat, places)
        if beside is not None or entry.get("inside"):
            column = entry.get("weights", entry["column"])
            arrays[f"{name}.weights"] = numbers(weights, 1.0, column, places).astype(np.float32)

    def _plain_lists(
        self, entry: dict[str, Any], cells: Sequence[Any], arrays: dict[str, Array]
    ) -> None:
        lists = cells
        if set(map(type, cells)) != {list}:
            lists = [self._list(entry, cell, place) for place, cell in enumerate(cells)]
        flat = list(chain.from_iterable(lists))
        if has_null_text(flat, self._nulls):
            lists = [[settled(value, self._nulls) for value in values] for values in lists]
            flat = list(chain.from_iterable(lists))
        if None in flat:
            lists = [[value for value in values if value is not None] for values in lists]
            flat = list(chain.from_iterable(lists))
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
        places = np.repeat(np.arange(len(lists)), lengths)
        arrays[f"{entry['name']}.lengths"] = lengths
        arrays[f"{entry['name']}.values"] = self._values(entry, flat, places)

    def _history(
        self, entries: list[dict[str, Any]], rows: Sequence[Row], arrays: dict[str, Array]
    ) -> None:
        """The columns of a history: steps that are nothing in all of them are none."""
        columns = []
        for entry in entries:
            cells = self._cells(rows, entry["column"])
            columns.append([self._list(entry, cell, place) for place, cell in enumerate(cells)])
        alike = all(len({*map(len, row)}) == 1 for row in zip(*columns, strict=True))
        if alike and not any(_is_whole(e, c) for e, c in zip(entries, columns, strict=True)):
            columns = _without_gaps(entries, columns)
        most, keep = entries[0]["max_len"], entries[0]["keep"]
        lengths: Array | None = None
        for entry, lists in zip(entries, columns, strict=True):
            if keep == "last":
                lists = [values[-most:] if len(values) > most else values for values in lists]
            else:
                lists = [values[:most] for values in lists]
            sizes = np.fromiter(map(len, lists), np.int64, len(lists))
            if lengths is not None and (odd := np.flatnonzero(sizes != lengths)).size:
                why = f"has not as many steps as `{entries[0]['column']}`"
                raise BadCell(int(odd[0]), entry["column"], why)
            lengths = arrays[f"{entry['sequence']}.lengths"] = sizes
            self._steps(entry, [v for values in lists for v in values], sizes, arrays)

    def _steps(
        self, entry: dict[str, Any], flat: list[Any], lengths: Array, arrays: dict[str, Array]
    ) -> None:
        name, places = entry["name"], np.repeat(np.arange(len(lengths)), lengths)
        if entry.get("nested"):
            steps = []
            for cell in flat:
                several = listed(cell, entry.get("inner_sep"), self._nulls)
                step = (cell,) if several is None else several
                steps.append([value for value in step if value is not None])
            inner = np.fromiter(map(len, steps), np.int64, len(steps))
            arrays[f"{name}.lengths"] = inner
            flat, places = [v for values in steps for v in values], np.repeat(places, inner)
        arrays[f"{name}.values"] = self._values(entry, flat, places)


def _columns_of(entry: Mapping[str, Any]) -> list[str]:
    if entry["kind"] == "cross":
        return [part["column"] for part in entry["of"]]
    return [entry["column"], *([entry["weights"]] if "weights" in entry else [])]


def _is(value: Any, pad: Any) -> bool:
    return pad is not None and equals(value, pad)


def _is_whole(entry: Mapping[str, Any], lists: Sequence[Sequence[Any]]) -> bool:
    """Whether a column of a history has a value at every step."""
    return entry.get("pad") is None and not any(None in values for values in lists)


def _without_gaps(
    entries: Sequence[Mapping[str, Any]], columns: Sequence[Sequence[Any]]
) -> list[list[list[Any]]]:
    kept: list[list[list[Any]]] = [[] for _ in columns]
    for row in zip(*columns, strict=True):
        steps = [
            step
            for step in zip(*row, strict=True)
            if any(
                v is not None and not _is(v, e.get("pad"))
                for v, e in zip(step, entries, strict=True)
            )
        ]
        for number, lists in enumerate(kept):
            lists.append([step[number] for step in steps])
    return kept
