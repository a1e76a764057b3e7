"""Arrow columns as numpy: kinds of types, numbers, lists, texts that hold several values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from graphrec.data.chunk import Array, offsets_of, ragged_index
from graphrec.data.faults import Faults, bad_data
from graphrec.data.plan import Field

__all__ = [
    "Lists",
    "at_row",
    "cell",
    "steps_of",
    "ids_of_steps",
    "kind_of",
    "lists_of",
    "numbers_of",
    "plain",
    "rows_of_steps",
    "valid_utf8",
]

_NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"


def kind_of(kind: Any) -> str:
    """`numbers`, `text`, `truth values`, `times`, `lists of ...`, `nothing` or the Arrow type."""
    if pt.is_dictionary(kind):
        return kind_of(kind.value_type)
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        return f"lists of {kind_of(kind.value_type)}"
    if pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind):
        return "numbers"
    if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind):
        return "text"
    if pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind):
        return "bytes"
    if pt.is_boolean(kind):
        return "truth values"
    if pt.is_temporal(kind):
        return "times"
    return "nothing" if pt.is_null(kind) else str(kind)


def plain(array: Any) -> Any:
    """The values themselves, where they are kept as a dictionary."""
    return array.cast(array.type.value_type) if pt.is_dictionary(array.type) else array


def numbers_of(
    array: Any, default: float, column: str, faults: Callable[[Array, str], None]
) -> Array:
    """Numbers [T] as float32 or float64, nulls replaced by `default`.

    Cells that are no finite number are reported to `faults(mask, why)` and come back as `default`.
    Raises DataError for columns of another kind.
    """
    array = plain(array)
    kind = kind_of(array.type)
    if kind == "text":
        array = _parse(array, faults)
    elif kind == "nothing":
        return np.full(len(array), default, np.float32)
    elif kind not in ("numbers", "truth values"):
        raise bad_data("GR704", f"column `{column}` holds {kind}, but numbers are needed")
    if not pt.is_float32(array.type) and not pt.is_float64(array.type):
        small = pt.is_boolean(array.type) or (
            pt.is_integer(array.type) and array.type.bit_width <= 16
        )
        array = array.cast(pa.float32() if small else pa.float64(), safe=False)
    if array.null_count:
        array = pc.fill_null(array, pa.scalar(default, array.type))
    values: Array = array.to_numpy(zero_copy_only=False)
    # A sum is finite unless some value is not (or it overflows): one cheap look at good columns.
    if len(values) and not np.isfinite(values.sum(dtype=np.float64)):
        bad = ~np.isfinite(values)
        if bad.any():
            faults(bad, "is not a finite number")
            values = np.where(bad, np.asarray(default, values.dtype), values)
    return values


def _parse(texts: Any, faults: Callable[[Array, str], None]) -> Any:
    if not pt.is_string(texts.type):
        texts = texts.cast(pa.string())
    try:
        return pc.cast(texts, pa.float64())
    except pa.ArrowInvalid:
        empty = pc.equal(texts, "")
        valid = valid_utf8(texts)
        legible = texts if valid is None else pc.if_else(pa.array(valid), texts, "?")
        good = pc.match_substring_regex(legible, _NUMBER)
        bad = pc.fill_null(pc.invert(pc.or_(good, empty)), False)
        faults(bad.to_numpy(zero_copy_only=False), "is not a number")
        return pc.cast(pc.if_else(good, texts, pa.scalar(None, pa.string())), pa.float64())


def valid_utf8(texts: Any) -> Array | None:
    """Which texts are valid UTF-8, None if all are; each is looked at only where some are not."""
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        raw = texts.cast(pa.large_binary() if pt.is_large_string(texts.type) else pa.binary())
        return np.array([_decodes(value) for value in raw.to_pylist()], bool)
    return None


def _decodes(value: bytes | None) -> bool:
    try:
        (value or b"").decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@dataclass
class Lists:
    """A list column taken apart: flat Arrow `values` [T] and `offsets` [B + 1]."""

    values: Any
    offsets: Array

    @property
    def lengths(self) -> Array:
        return np.diff(self.offsets)

    def cut(self, longest: int, keep: str) -> Lists:
        """Rows of at most `longest` steps; the `last` or `first` ones are kept."""
        lengths = self.lengths
        if not len(lengths) or int(lengths.max()) <= longest:
            return self
        kept = np.minimum(lengths, longest)
        starts = self.offsets[:-1] + (lengths - kept if keep == "last" else 0)
        return Lists(self.values.take(pa.array(ragged_index(starts, kept))), offsets_of(kept))


def lists_of(
    array: Any, sep: str | None, column: str, *, single: bool, nested: bool = False
) -> Lists:
    """Several values a row, from a list column or texts with `sep`; null is an empty list.

    With `single` a column of plain values counts as lists of one; with `nested` the values may be
    lists again. Raises DataError otherwise.
    """
    kind = kind_of(array.type)
    if kind.startswith("lists of lists") and not nested:
        help_text = "for several ids at a step, give the id `pool:`; for a vector, its `width:`"
        raise bad_data(
            "GR704", f"column `{column}` holds {kind}, but one list is needed", help_text
        )
    if kind.startswith("lists of"):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        return Lists(array.flatten(), offsets_of(lengths))
    if kind == "nothing":
        return Lists(pa.array([], pa.string()), np.zeros(len(array) + 1, np.int64))
    if sep is not None and kind == "text":
        texts = plain(array)
        present = pc.and_kleene(texts.is_valid(), pc.not_equal(texts, ""))
        return lists_of(
            pc.split_pattern(pc.if_else(present, texts, pa.scalar(None, texts.type)), sep),
            None,
            column,
            single=False,
        )
    if single:
        lengths = array.is_valid().to_numpy(zero_copy_only=False)
        return Lists(array.drop_null(), offsets_of(lengths))
    help_text = 'say how the text is split: sep: "|"' if kind == "text" else ""
    raise bad_data("GR711", f"column `{column}` holds {kind}, but lists are needed", help_text)


def steps_of(field: Field, array: Any) -> Lists:
    """The steps of a history's column, cut to the longest that is kept."""
    assert field.sequence is not None
    lists = lists_of(array, field.sep, field.column, single=False, nested=field.nested)
    return lists.cut(field.sequence.max_len, field.sequence.keep)


def ids_of_steps(field: Field, steps: Lists) -> Lists:
    """The ids of every step of a history: values [ids], offsets [T + 1]."""
    return lists_of(steps.values, field.feature.sep, field.column, single=True)


def rows_of_steps(mask: Array, offsets: Array) -> Array:
    """Rows [B] of which some step [T] is marked."""
    rows = np.zeros(len(offsets) - 1, bool)
    rows[np.searchsorted(offsets, np.flatnonzero(mask), side="right") - 1] = True
    return rows


def at_row(
    faults: Faults, array: Any, offsets: Array | None, column: str
) -> Callable[[Array, str], None]:
    """What `numbers_of` calls for bad cells of this column: marks their rows."""

    def report(mask: Array, why: str) -> None:
        rows = mask if offsets is None else rows_of_steps(mask, offsets)
        faults.add(rows, column, why, lambda i: cell(array, i))

    return report


def cell(array: Any, row: int) -> object:
    """The Python value of one cell, for messages."""
    try:
        return array[row].as_py()
    except UnicodeDecodeError:
        return array[row : row + 1].cast(pa.binary())[0].as_py()
