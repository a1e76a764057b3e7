"""Cells of Arrow columns as numbers, and where bad ones are reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from graphrec.data.chunk import Array
from graphrec.data.faults import Faults, bad_data
from graphrec.data.forms import kind_of, plain, valid_utf8
from graphrec.data.lists import rows_of_steps
from graphrec.data.spelling import canonical_texts

__all__ = ["Report", "at_row", "cell", "cast_down", "numbers_of"]

Report = Callable[[Array, str], None]
"""Told of cells [T] that can't be used, and why."""

_NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+|(?i:nan|inf|infinity))([eE][+-]?\d+)?$"


def numbers_of(
    array: Any, default: float, column: str, faults: Report, *, nan_is_null: bool = False
) -> Array:
    """Numbers [T] as float32 or float64, nulls replaced by `default`.

    Cells that are no finite number are reported to `faults(mask, why)` and come back as `default`;
    NaN is null where the caller says so. Raises DataError for columns of another kind.
    """
    array = plain(array)
    kind = kind_of(array.type)
    if kind == "text":
        array = _parse(array, faults)
    elif kind == "nothing":
        return np.full(len(array), default, np.float32)
    elif kind not in ("numbers", "truth values"):
        help_text = "of a column of lists, say how many: width: N" if "lists" in kind else ""
        raise bad_data(
            "GR704", f"column `{column}` holds {kind}, but numbers are needed", help_text
        )
    if not pt.is_float32(array.type) and not pt.is_float64(array.type):
        small = pt.is_boolean(array.type) or (
            pt.is_integer(array.type) and array.type.bit_width <= 16
        )
        array = array.cast(pa.float32() if small else pa.float64(), safe=False)
    missing = None
    if array.null_count:
        missing = array.is_null().to_numpy(zero_copy_only=False)
        array = pc.fill_null(array, pa.scalar(0.0, array.type))
    values: Array = array.to_numpy(zero_copy_only=False)
    # A sum is finite unless some value is not (or it overflows): one cheap look at good columns.
    with np.errstate(over="ignore", invalid="ignore"):
        total = values.sum(dtype=np.float64) if len(values) else 0.0
    if not np.isfinite(total):
        bad = ~np.isfinite(values)
        if nan_is_null:
            unknown = np.isnan(values)
            missing, bad = unknown if missing is None else missing | unknown, bad & ~unknown
        if bad.any():
            faults(bad, "is not a finite number")
            missing = bad if missing is None else missing | bad
    if missing is None or (default == 0 and np.isfinite(total)):
        return values
    return np.where(missing, np.asarray(default, values.dtype), values)


def cast_down(values: Array, faults: Report) -> Array:
    """The numbers as float32; those beyond it are reported."""
    if values.dtype == np.float32:
        return values
    with np.errstate(over="ignore"):
        result = values.astype(np.float32)
    large = np.isinf(result)
    if large.any():
        faults(large, "does not fit in 32 bits")
        result[large] = 0.0
    return result


def _parse(texts: Any, faults: Report) -> Any:
    if not pt.is_string(texts.type):
        texts = texts.cast(pa.string())
    try:
        return pc.cast(texts, pa.float64())
    except pa.ArrowInvalid:
        valid = valid_utf8(texts)
        legible = texts if valid is None else pc.if_else(pa.array(valid), texts, "?")
        spelled = canonical_texts(legible)
        good = pc.match_substring_regex(spelled, _NUMBER)
        bad = pc.fill_null(pc.invert(good), False)
        faults(bad.to_numpy(zero_copy_only=False), "is not a number")
        return pc.cast(pc.if_else(good, spelled, pa.scalar(None, pa.string())), pa.float64())


def at_row(faults: Faults, array: Any, offsets: Array | None, column: str) -> Report:
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
        return _bytes_of(array.slice(row, 1))[0]
    except (ValueError, OverflowError):  # a date beyond those of Python
        return array.slice(row, 1).cast(pa.string())[0].as_py()


def _bytes_of(array: Any) -> list[object]:
    """Texts that are no valid UTF-8 as bytes, in lists of any depth."""
    array = plain(array)
    if kind_of(array.type).startswith("lists"):
        return [_bytes_of(array.flatten())]
    if kind_of(array.type) != "text":
        return [str(array.type)]
    return list(array.cast(pa.large_binary()).to_pylist())
