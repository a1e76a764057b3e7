"""Single raw values and lists of them, as the reader of rows takes them apart: no Arrow, no torch.

This file is part of graphrec and of every bundle it exports (there it is `cells.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = [
    "BadCell",
    "Table",
    "canonical",
    "equals",
    "has_null_text",
    "hash_bytes",
    "hash_together",
    "id_of",
    "listed",
    "numbers",
    "parted",
    "settled",
]

Array = np.ndarray[Any, Any]

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SUSPECT = re.compile(r"[-+0-9tTfF]")
_WHOLE = re.compile(r"-?[0-9]+")
_LONGEST = 40  # bytes of a number or time that is written in several ways, as in spelling.py
_MEMO = 1 << 17  # values whose rows are remembered, of each table
_START, _PRIME, _MASK = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1
_RULES = tuple(
    (re.compile(pattern, re.ASCII), replacement)
    for pattern, replacement in (
        (r"\+?(0|[1-9][0-9]*)(?:\.0*)?", r"\1"),
        (r"-([1-9][0-9]*)\.0*", r"-\1"),
        (r"-0(?:\.0*)?", "0"),
        (r"(?i:true)", "1"),
        (r"(?i:false)", "0"),
        (r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d(?:\.\d+)?)(?:Z|[+-]00:?00)?", r"\1 \2"),
        (r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d*?)0+", r"\1"),
        (r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.", r"\1"),
        (r"(\d{4}-\d\d-\d\d) 00:00:00", r"\1"),
    )
)
_HASHED = frozenset({str, int, float, bool, type(None)})
_PAIRS = {"[": "]", "(": ")", "{": "}"}


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
        self.memo: dict[Any, int] = {}

    def row(self, value: str | int) -> int:
        """The row of a text or integer; ValueError where it is illegal."""
        row = self.memo.get(value)
        if row is None:
            row = self._find(canonical(value) if isinstance(value, str) else value)
            if len(self.memo) >= _MEMO:
                self.memo.clear()
            self.memo[value] = row
        return row

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


def hash_together(hashes: Sequence[int]) -> int:
    """One hash for a tuple of values, from theirs."""
    value = _START
    for part in hashes:
        value = _finish((value ^ part) * _PRIME & _MASK)
    return value


def canonical(text: str) -> str:
    """The one spelling of a value: 14.0 and +14 are 14, True is 1.

    >>> [canonical(text) for text in ("14.00", "+1", "True", "007", "2024-01-05T00:00:00Z")]
    ['14', '1', '1', '007', '2024-01-05']
    """
    if len(text) > _LONGEST or not _SUSPECT.match(text):
        return text
    for pattern, replacement in _RULES:
        match = pattern.fullmatch(text)
        if match is not None:
            text = match.expand(replacement)
    return text


def has_null_text(cells: Sequence[Any], nulls: frozenset[str]) -> bool:
    """Whether some text among these values means null."""
    kinds = set(map(type, cells))
    if str not in kinds:
        return False
    if kinds <= _HASHED:
        return not nulls.isdisjoint(cells)
    return any(type(cell) is str and cell in nulls for cell in cells)


def settled(cell: Any, nulls: frozenset[str]) -> Any:
    """The value itself; None for a text that means null."""
    return None if type(cell) is str and cell in nulls else cell


def id_of(cell: Any) -> str | int:
    """The text or integer of any value that can be an id; ValueError says what is wrong."""
    if isinstance(cell, np.floating):
        whole = abs(cell) < 2.0**63 and cell == np.floor(cell)
        # else the shortest text that says it at its own precision
        cell = cell.item() if whole else str(cell)
    elif isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, str):
        return canonical(cell)
    if isinstance(cell, int):  # truth values, too: they are 0 and 1
        if not -(1 << 63) <= cell < 1 << 64:
            raise ValueError("does not fit in 64 bits: give it as text")
        return int(cell)
    if isinstance(cell, float):
        return int(cell) if abs(cell) < 2.0**63 and cell == int(cell) else str(cell)
    raise ValueError(f"is of type {type(cell).__name__}: text, number or truth value needed")


def listed(cell: Any, sep: str | None, nulls: frozenset[str], nested: bool = False) -> Any:
    """The values of a list, or of a text that holds several; None for another single value."""
    if type(cell) is list and str not in set(map(type, cell)):
        return cell
    if cell is None:
        return ()
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if isinstance(cell, str):
        brackets = len(cell) > 1 and _PAIRS.get(cell[0]) == cell[-1]
        if brackets:
            cell = _elements(cell, sep, nested)
        elif sep is not None:
            cell = [[part] for part in cell.split(sep)] if nested else cell.split(sep)
    if not isinstance(cell, list | tuple):
        return None
    if any(type(value) is str for value in cell):
        return [settled(value, nulls) for value in cell]
    return cell


def parted(values: Any, nulls: frozenset[str]) -> tuple[list[Any], list[Any]]:
    """Values and their weights: a map, pairs, or texts like 17:0.35; None weighs 1."""
    if isinstance(values, dict):
        return [settled(key, nulls) for key in values], list(values.values())
    keys, weights = [], []
    for value in values:
        key, weight = value, None
        if isinstance(value, str) and ":" in value:
            key, weight = value.rsplit(":", 1)
        elif isinstance(value, dict) and len(value) == 2:
            key, weight = value.values()
        keys.append(settled(key, nulls))
        weights.append(settled(weight, nulls))
    return keys, weights


def equals(cell: Any, pad: int | float | str) -> bool:
    """Whether a value is the one that fills up lists."""
    if isinstance(cell, str):
        return canonical(cell) == canonical(str(pad))
    if isinstance(cell, bool) or not isinstance(cell, int | float | np.number):
        return False
    try:
        return float(cell) == float(pad)
    except ValueError:
        return False


def numbers(cells: Sequence[Any], default: float, column: str, places: Any) -> Array:
    """Numbers [N] in double precision, nulls replaced by `default`; `places` are their rows."""
    kinds = set(map(type, cells))
    missing = np.zeros(len(cells), bool)
    if type(None) in kinds:
        missing = np.fromiter([cell is None for cell in cells], bool, len(cells))
    if kinds <= {int, float, bool, type(None)}:
        values = np.array(cells, np.float64)  # None is NaN here
    else:
        each = (0.0 if c is None else _number(c, column, places, n) for n, c in enumerate(cells))
        values = np.fromiter(each, np.float64, len(cells))
    values[missing] = default
    odd = ~np.isfinite(values)
    if odd.any():
        place = int(np.flatnonzero(odd)[0])
        raise BadCell(int(places[place]), column, f"{cells[place]!r} is not a finite number")
    return values


def _number(cell: Any, column: str, places: Any, number: int) -> float:
    if isinstance(cell, str):
        cell = canonical(cell)
        if _NUMBER.fullmatch(cell):
            return float(cell)
    elif isinstance(cell, int | float | np.number | np.bool_):
        return float(cell)
    raise BadCell(int(places[number]), column, f"{cell!r} is not a number")


def _elements(text: str, sep: str | None, nested: bool) -> list[Any]:
    """The values of a text in brackets, as Python, JSON, numpy or a database print a list."""
    if '"' not in text and not nested:
        inner = re.split(r"\s*,\s*", text[1:-1].strip())
        if len(inner) == 1:  # numpy prints no commas
            inner = re.split(r"\s+", inner[0])
        parts = [part for each in inner for part in (each.split(sep) if sep else [each])]
        return [part.strip("'") for part in parts]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        value = [f"{key}:{_text(part)}" for key, part in value.items()]
    if not isinstance(value, list):
        value = [part.strip().strip("'\"") for part in text[1:-1].split(",")]
    if not nested:
        return [_text(part) for part in value]
    inner_lists: list[Any] = []
    for part in value:
        each = part if isinstance(part, list) or part is None else [part]
        inner_lists.append(None if each is None else [_text(one) for one in each])
    return inner_lists


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else json.dumps(value)
