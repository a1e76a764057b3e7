"""Raw values -> the tensors of a model, with numpy and nothing else.

    features = Features.load("bundle")
    tensors = features([{"user_id": "u7", "price": 9.5, "clicked__item_id": [3, 5]}])

A row is a map from column to a value: text, number, truth value or None (null); a list of them
where a feature has several values or is a history. A missing column is null where other rows have
it. The result maps names to arrays: a feature's own name, or `NAME.values` and `NAME.lengths` for
lists, which lie one after another; the columns of a history share the lengths of its name.

This file is part of graphrec and of every bundle it exports (there it is `features.py`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["BadCell", "Features", "Table"]

Array = np.ndarray[Any, Any]
Row = Mapping[str, Any]

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"-?[0-9]+")
_MEMO = 1 << 17  # values whose rows are remembered, of each table
_PRIME, _MASK = 0x100000001B3, (1 << 64) - 1
_START = 0xCBF29CE484222325


class BadCell(ValueError):
    """A value that a feature can't use; `row` is its position, `column` where it stands."""

    def __init__(self, row: int, column: str, why: str) -> None:
        super().__init__(f"row {row}, column `{column}`: {why}")
        self.row, self.column, self.why = row, column, why


class Table:
    """What the rows of an embedding table stand for.

    `kind` is `range` (integers are rows), `hash`, or `listed`: values are searched among `hashes`
    (sorted; `order` are their rows) and compared with `text[offsets[row]:offsets[row + 1]]`. The
    last row is for unseen values and null.
    """

    def __init__(self, kind: str, rows: int, arrays: Mapping[str, Array] | None = None) -> None:
        self.kind, self.rows = kind, rows
        self._arrays = arrays or {}
        self._memo: dict[str | int, int] = {}

    def row(self, value: str | int) -> int:
        """The row of a text or integer; ValueError where it is illegal."""
        found = self._memo.get(value)
        if found is None:
            found = self._find(value)
            if len(self._memo) >= _MEMO:
                self._memo.clear()
            self._memo[value] = found
        return found

    def _find(self, value: str | int) -> int:
        if self.kind == "range":
            if isinstance(value, str):
                if not _WHOLE.fullmatch(value):
                    raise ValueError("is not an integer")
                value = int(value)
            return value if 0 <= value < self.rows - 1 else self.rows - 1
        data = str(value).encode()
        if self.kind == "hash":
            return hash_bytes(data) % (self.rows - 1)
        hashes, unseen = self._arrays["hashes"], self.rows - 1
        place = int(np.searchsorted(hashes, np.uint64(hash_bytes(data)))) if unseen else 0
        if place >= len(hashes):
            return unseen
        row = int(self._arrays["order"][place])
        first, last = self._arrays["offsets"][row : row + 2]
        return row if self._arrays["text"][first:last].tobytes() == data else unseen


def hash_bytes(data: bytes) -> int:
    """FNV-1a 64, finished by splitmix64."""
    value = _START
    for byte in data:
        value = (value ^ byte) * _PRIME & _MASK
    return _finish(value)


def _finish(value: int) -> int:
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


class Features:
    """The reader of one model: `columns` of data become arrays, by the `entries` of its features.

    `spec` is what features.json holds, `tables` the tables it names.
    """

    def __init__(self, spec: Mapping[str, Any], tables: Mapping[str, Table]) -> None:
        self.entries: list[dict[str, Any]] = list(spec["entries"])
        self.tables = tables
        self._edges = {e["name"]: np.array(e["edges"]) for e in self.entries if "edges" in e}

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
        found = [c for e in self.entries if side in (None, e["side"]) for c in _columns_of(e)]
        return sorted(set(found))

    def __call__(self, rows: Sequence[Row], side: str | None = None) -> dict[str, Array]:
        """The arrays for whole rows; with `side`, of the features of that side alone."""
        found: dict[str, Array] = {}
        for entry in self.entries:
            if side in (None, entry["side"]):
                self._read(entry, rows, found)
        return found

    def score(self, request: Row, candidates: Sequence[Row]) -> dict[str, Array]:
        """The arrays for the candidates of one request; the request's own values count for both."""
        found = self([request], "request")
        wanted = [c for c in self.columns("candidates") if c in request]
        mine = set(self.columns("request"))
        given = {c: request[c] for c in wanted if c in mine}
        other = {c: request[c] for c in wanted if c not in mine}
        if given or other:
            known = {name for row in candidates for name in row} if other else set()
            other = {c: value for c, value in other.items() if c not in known}
            candidates = [{**row, **other, **given} for row in candidates]
        return found | self(candidates, "candidates")

    # ---- one feature ---------------------------------------------------------------------------

    def _read(self, entry: dict[str, Any], rows: Sequence[Row], found: dict[str, Array]) -> None:
        name, column = entry["name"], entry.get("column", "")
        if entry["kind"] == "cross":
            found[name] = self._cross(entry, rows)
            return
        cells = _cells(rows, column)
        form = entry["form"]
        if form == "single":
            found[name] = self._values(entry, cells, range(len(cells)))
            return
        lists = [self._list(entry, cell, place) for place, cell in enumerate(cells)]
        if form == "sequence":
            lists = _cut(lists, entry)
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
        places = np.repeat(np.arange(len(lists)), lengths)
        flat = [value for values in lists for value in values]
        owner = entry["sequence"] if form == "sequence" else name
        known = found.get(f"{owner}.lengths")
        if known is not None and (odd := np.flatnonzero(known != lengths)).size:
            why = f"has not as many steps as the other columns of `{owner}`"
            raise BadCell(int(odd[0]), column, why)
        found[f"{owner}.lengths"] = lengths
        if entry.get("nested"):
            steps = [self._inner(entry, cell, places[n]) for n, cell in enumerate(flat)]
            inner = np.fromiter(map(len, steps), np.int64, len(steps))
            found[f"{name}.lengths"] = inner
            flat, places = [v for values in steps for v in values], np.repeat(places, inner)
        found[f"{name}.values"] = self._values(entry, flat, places)
        if "weights" in entry:
            found[f"{name}.weights"] = _weights(entry, rows, lengths)

    def _values(self, entry: dict[str, Any], cells: Sequence[Any], places: Any) -> Array:
        kind = entry["kind"]
        if kind == "id":
            return self._ids(entry, cells, places)
        if kind == "bucket":
            return self._buckets(entry, cells, places)
        return _dense(entry, cells, places)

    def _ids(self, entry: dict[str, Any], cells: Sequence[Any], places: Any) -> Array:
        table = self.tables[entry["table"]]
        null = table.rows - 1 if entry.get("default") is None else table.row(str(entry["default"]))
        known, unseen = table.row, table.rows - 1
        truth = ("0", "1") if table.kind == "range" else ("false", "true")
        out = np.empty(len(cells), np.int64)
        strict = entry.get("oov") == "error"
        for number, cell in enumerate(cells):
            if cell is None:
                out[number] = null
                continue
            try:
                kind = type(cell)
                out[number] = known(cell if kind is str or kind is int else _id(cell, truth))
            except ValueError as why:
                raise BadCell(int(places[number]), entry["column"], f"{cell!r} {why}") from None
            if strict and out[number] == unseen:
                why_not = f"{cell!r} is not in the vocabulary of feature `{entry['feature']}`"
                raise BadCell(int(places[number]), entry["column"], why_not)
        return out

    def _buckets(self, entry: dict[str, Any], cells: Sequence[Any], places: Any) -> Array:
        default = entry.get("default")
        values = _numbers(cells, 0.0 if default is None else default, entry["column"], places)
        found = np.searchsorted(self._edges[entry["name"]], values, side="right")
        if default is None:
            nulls = [number for number, cell in enumerate(cells) if cell is None or cell == ""]
            found[nulls] = self.tables[entry["table"]].rows - 1
        return found.astype(np.int64)

    def _cross(self, entry: dict[str, Any], rows: Sequence[Row]) -> Array:
        size = self.tables[entry["table"]].rows - 1
        parts = [(part, _cells(rows, part["column"])) for part in entry["of"]]
        out = np.empty(len(rows), np.int64)
        for number in range(len(rows)):
            value, null = _START, False
            for part, cells in parts:
                cell = cells[number]
                cell = part.get("default") if cell is None else cell
                null |= cell is None
                try:
                    text = str(_id(cell, ("false", "true"))) if cell is not None else ""
                except ValueError as why:
                    raise BadCell(number, part["column"], f"{cell!r} {why}") from None
                mixed = 0 if cell is None else hash_bytes(text.encode())
                value = _finish((value ^ mixed) * _PRIME & _MASK)
            out[number] = size if null else value % size
        return out

    # ---- lists ---------------------------------------------------------------------------------

    def _list(self, entry: dict[str, Any], cell: Any, place: int) -> Sequence[Any]:
        """The values of a cell; a single value is a list of one, but no history."""
        values = _listed(cell, entry.get("sep"))
        if values is not None:
            return values
        if entry["form"] == "sequence":
            raise BadCell(place, entry["column"], f"{cell!r} is no list")
        return (cell,)

    def _inner(self, entry: dict[str, Any], cell: Any, place: Any) -> Sequence[Any]:
        values = _listed(cell, entry.get("inner_sep"))
        return (cell,) if values is None else values


def _columns_of(entry: Mapping[str, Any]) -> list[str]:
    if entry["kind"] == "cross":
        return [part["column"] for part in entry["of"]]
    return [entry["column"], *([entry["weights"]] if "weights" in entry else [])]


def _cells(rows: Sequence[Row], column: str) -> list[Any]:
    try:
        return [row[column] for row in rows]
    except KeyError:
        if not any(column in row for row in rows):
            raise BadCell(0, column, "no row has this column") from None
        return [row.get(column) for row in rows]


def _listed(cell: Any, sep: str | None) -> Sequence[Any] | None:
    """The values of a list, or of a text with a separator; None for another single value."""
    kind = type(cell)
    if kind is list or kind is tuple:
        return cell  # type: ignore[no-any-return]
    if cell is None:
        return ()
    if isinstance(cell, np.ndarray):
        return cell.tolist()  # type: ignore[no-any-return]
    if isinstance(cell, str) and sep is not None:
        return cell.split(sep) if cell else ()
    return None


def _cut(lists: list[Sequence[Any]], entry: Mapping[str, Any]) -> list[Sequence[Any]]:
    most = entry["max_len"]
    if entry["keep"] == "last":
        return [values[-most:] if len(values) > most else values for values in lists]
    return [values[:most] if len(values) > most else values for values in lists]


def _id(cell: Any, truth: tuple[str, str]) -> str | int:
    """A text or integer for any value that can be an id."""
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, bool):
        return truth[cell]
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        if not -(1 << 63) <= cell < 1 << 64:
            raise ValueError("does not fit in 64 bits: give it as text")
        return cell
    if isinstance(cell, float):
        if not (math.isfinite(cell) and abs(cell) < 2.0**63 and cell == int(cell)):
            raise ValueError("is not a whole number, but an id")
        return int(cell)
    raise ValueError(f"is of type {type(cell).__name__}: text, number or truth value needed")


def _numbers(cells: Sequence[Any], default: float, column: str, places: Any) -> Array:
    """Numbers [N] in double precision, nulls and empty texts replaced by `default`."""
    kinds = set(map(type, cells))
    if kinds <= {int, float, bool}:
        values = np.array(cells, np.float64)
    else:
        values = np.array([_number(c, default, column, places, n) for n, c in enumerate(cells)])
        values = values.astype(np.float64)
    if len(values) and not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise BadCell(int(places[place]), column, f"{cells[place]!r} is not a finite number")
    return values


def _number(cell: Any, default: float, column: str, places: Any, number: int) -> float:
    if cell is None or cell == "":
        return default
    if isinstance(cell, str) and _NUMBER.fullmatch(cell):
        return float(cell)
    if isinstance(cell, int | float | np.number | np.bool_):
        return float(cell)
    raise BadCell(int(places[number]), column, f"{cell!r} is not a number")


def _dense(entry: dict[str, Any], cells: Sequence[Any], places: Any) -> Array:
    """Transformed numbers [N, width], float32."""
    width, default, column = entry["width"], entry["default"], entry["column"]
    sep = entry.get("inner_sep" if entry["form"] == "sequence" else "sep")
    if width == 1 and sep is None and not any(isinstance(c, list | tuple) for c in cells):
        values = _numbers(cells, default, column, places)[:, None]
    else:
        flat: list[Any] = []
        for number, cell in enumerate(cells):
            listed = _listed(cell, sep)
            one = (cell,) if listed is None else listed
            if cell is None or (sep is not None and width == 1 and not one):
                one = (default,) * width
            if len(one) != width:
                raise BadCell(int(places[number]), column, f"{cell!r} has not {width} numbers")
            flat.extend(one)
        each = np.repeat(np.asarray(places), width)
        values = _numbers(flat, default, column, each).reshape(len(cells), width)
    if entry["transform"] == "log1p":
        values = np.copysign(np.log1p(np.abs(values)), values)
    elif "shift" in entry:
        values = (values - np.array(entry["shift"])) * np.array(entry["factor"])
    with np.errstate(over="ignore"):
        result = values.astype(np.float32)
    if not np.isfinite(result).all():
        place = int(np.flatnonzero(~np.isfinite(result).all(axis=1))[0])
        raise BadCell(int(places[place]), column, f"{cells[place]!r} does not fit in 32 bits")
    return result


def _weights(entry: dict[str, Any], rows: Sequence[Row], lengths: Array) -> Array:
    column = entry["weights"]
    lists = []
    for place, cell in enumerate(_cells(rows, column)):
        values = _listed(cell, entry.get("sep"))
        lists.append((cell,) if values is None else values)
        if len(lists[-1]) != lengths[place]:
            why = f"has not as many weights as `{entry['column']}` has values"
            raise BadCell(place, column, why)
    places = np.repeat(np.arange(len(lists)), lengths)
    flat = [value for values in lists for value in values]
    return _numbers(flat, 1.0, column, places).astype(np.float32)
