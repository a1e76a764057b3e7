"""Functions of single values, applied to whole Arrow columns of any kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from graphrec.data.cells import Report
from graphrec.data.chunk import Array
from graphrec.data.faults import bad_data
from graphrec.data.forms import kind_of, valid_utf8
from graphrec.data.spelling import canonical_texts, is_whole, texts_of_floats, texts_of_times
from graphrec.ground.errors import DataError

__all__ = ["ValueMap", "not_single"]

_KEPT = 1 << 18  # values of dictionaries that a map remembers, besides the latest


def not_single(kind: str, column: str) -> DataError:
    """The error for a column that holds no single ids."""
    help_text = ""
    if kind.startswith("lists"):
        help_text = "say how lists are pooled: pool: sum | mean"
    elif kind == "maps":
        help_text = "pool: sum, weights: inside reads the keys as ids and the values as weights"
    return bad_data(
        "GR704", f"column `{column}` holds {kind}, but single ids are needed", help_text
    )


@dataclass
class _Dictionary:
    """Results for the values of a dictionary, one more for null; and cells without a meaning."""

    values: Any
    results: Array
    bad: dict[str, Array]


class ValueMap:
    """A function of single values, applied to whole Arrow columns.

    `texts` and `integers` map values without nulls; `null` is the result for null. What was
    computed for a dictionary is kept for the next column that comes with the same one.
    """

    def __init__(
        self,
        texts: Callable[[Any], Array],
        integers: Callable[[Array], Array],
        null: int,
    ) -> None:
        self._texts, self._integers, self._null = texts, integers, null
        self._known: list[_Dictionary] = []

    def __call__(self, array: Any, column: str, faults: Report) -> Array:
        """Results [T]; cells without a meaning are reported and come back as null does."""
        kind = kind_of(array.type)
        if kind == "nothing":
            return np.full(len(array), self._null, self._texts(pa.array([], pa.string())).dtype)
        if pt.is_dictionary(array.type):
            if len(array.dictionary) <= 2 * len(array):
                return self._by_dictionary(array, column, faults)
            array = array.cast(array.type.value_type)
        if kind == "numbers":
            return self._of_numbers(array, column, faults)
        if kind == "truth values":
            return self._of_numbers(array.cast(pa.int8()), column, faults)
        if kind == "times":
            array = texts_of_times(array)
        elif kind == "bytes":
            array = array.cast(pa.binary()).view(pa.string())
        elif kind != "text":
            raise not_single(kind, column)
        return self._of_texts(array, faults)

    def _of_texts(self, array: Any, faults: Report) -> Array:
        if not pt.is_string(array.type) and not pt.is_large_string(array.type):
            array = array.cast(pa.string())
        good = valid_utf8(array)
        if good is not None:
            faults(~good, "is not valid UTF-8")
            array = pc.if_else(pa.array(good), array, pa.scalar(None, array.type))
        array = canonical_texts(array)
        if not array.null_count:
            return self._checked(self._texts(array), faults, None)
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        return self._checked(self._spread(self._texts(array.drop_null()), valid), faults, valid)

    def _of_numbers(self, array: Any, column: str, faults: Report) -> Array:
        valid = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None
        if pt.is_decimal(array.type):
            return self._of_texts(array.cast(pa.string()), faults)
        if pt.is_uint64(array.type) and (pc.max(array).as_py() or 0) >= 1 << 63:
            return self(array.cast(pa.string()), column, faults)
        if array.null_count:
            array = pc.fill_null(array, pa.scalar(0, array.type))
        values = array.to_numpy(zero_copy_only=False)
        if values.dtype.kind == "f" and not is_whole(values).all():
            return self._of_texts(texts_of_floats(values, valid), faults)
        results = self._integers(values.astype(np.int64, copy=False))
        return results if valid is None or valid.all() else np.where(valid, results, self._null)

    def _by_dictionary(self, array: Any, column: str, faults: Report) -> Array:
        known = self._dictionary(array.dictionary, column, faults)
        codes = array.indices
        if codes.null_count:
            codes = pc.fill_null(codes.cast(pa.int64()), len(array.dictionary))
        codes = codes.to_numpy(zero_copy_only=False)
        for why, mask in known.bad.items():
            marked = np.append(mask, False)[codes]
            if marked.any():
                faults(marked, why)
        results: Array = known.results.take(codes)
        return results

    def _dictionary(self, values: Any, column: str, faults: Report) -> _Dictionary:
        """What was computed for a dictionary; several files are read in turn."""
        for known in self._known:
            if known.values is values or known.values.equals(values):
                return known
        bad: dict[str, Array] = {}
        results = self(values, column, lambda mask, why: bad.update({why: mask}))
        known = _Dictionary(values, np.append(results, np.array([self._null], results.dtype)), bad)
        kept, size = [known], len(values)
        for other in self._known:
            size += len(other.values)
            if size <= _KEPT:
                kept.append(other)
        self._known = kept
        return known

    def _spread(self, results: Array, valid: Array) -> Array:
        full = np.full(len(valid), self._null, results.dtype)
        full[valid] = results
        return full

    def _checked(self, results: Array, faults: Report, valid: Array | None) -> Array:
        if results.dtype.kind != "i" or not (bad := results == -1).any():
            return results
        if valid is not None:
            bad &= valid
        faults(bad, "is not an integer")
        return np.where(bad, self._null, results)
