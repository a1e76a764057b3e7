"""Values -> table rows: `hash(N)`, integers 0..N-1, and listed values (`file`, `fit`).

Every table has one row more than it has known values: the last one is for unseen values and null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from graphrec.data.cells import kind_of, valid_utf8
from graphrec.data.chunk import Array
from graphrec.data.faults import bad_data
from graphrec.data.hashing import hash_integers, hash_texts

__all__ = ["HashedRows", "ListedRows", "RangeRows", "ValueMap", "Vocabulary", "canonical_integers"]

_INTEGER = r"^(0|-?[1-9][0-9]{0,18})$"
_LEAST, _MOST = (pa.scalar(Decimal(bound), pa.decimal128(38, 0)) for bound in (-(2**63), 2**63 - 1))
_DENSE = 1 << 22  # integers spread over less than this are looked up in a plain array


class Vocabulary(Protocol):
    """What a table's rows stand for; `rows` counts the last row too. -1 marks an illegal value."""

    rows: int

    def texts(self, values: Any) -> Array:
        """Rows [T] of texts without nulls."""

    def integers(self, values: Array) -> Array:
        """Rows [T] of integers."""


class HashedRows:
    """`hash(N)`: values share rows by nature; nothing is unseen."""

    def __init__(self, size: int) -> None:
        self.size, self.rows = size, size + 1

    def texts(self, values: Any) -> Array:
        return _narrow(hash_texts(values) % np.uint64(self.size), self.rows)

    def integers(self, values: Array) -> Array:
        return _narrow(hash_integers(values) % np.uint64(self.size), self.rows)


class RangeRows:
    """Integers 0..N-1 are rows themselves; others go to the last row."""

    def __init__(self, size: int) -> None:
        self.size, self.rows = size, size + 1

    def texts(self, values: Any) -> Array:
        written = pc.match_substring_regex(values, r"^-?[0-9]+$")
        short = pc.match_substring_regex(values, r"^-?0*[0-9]{1,18}$")
        rows = self.integers(_integers(pc.if_else(short, values, "-1")))
        rows[~written.to_numpy(zero_copy_only=False)] = -1
        return rows

    def integers(self, values: Array) -> Array:
        inside = (values >= 0) & (values < self.size)
        return _narrow(np.where(inside, values, self.size), self.rows)


class ListedRows:
    """The values of a list (`file`, `fit`); others go to the last row."""

    def __init__(self, values: Any) -> None:
        self.values = values
        self.rows = len(values) + 1
        hashes = hash_texts(values)
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]
        if len(values) and bool((self._hashes[1:] == self._hashes[:-1]).any()):
            raise bad_data("GR120", "two values of a vocabulary have the same 64-bit hash")
        numbers, rows = canonical_integers(values)
        order = np.argsort(numbers, kind="stable")
        self._numbers, self._number_rows = numbers[order], rows[order]
        self._low = int(self._numbers[0]) if len(numbers) else 0
        span = int(self._numbers[-1]) - self._low + 1 if len(numbers) else 0
        self._direct: Array | None = None
        if 0 < span <= max(_DENSE, 4 * len(numbers)):
            self._direct = np.full(span, len(values), np.int32)
            self._direct[self._numbers - self._low] = self._number_rows

    def arrays(self) -> dict[str, Array]:
        """The values for readers without Arrow: see `graphrec.data.row_reader.Table`."""
        texts = self.values.cast(pa.large_string())
        _, offsets, data = texts.buffers()
        first, count = texts.offset, len(texts)
        return {
            "hashes": self._hashes,
            "order": self._order.astype(np.int32 if self.rows < 1 << 31 else np.int64),
            "offsets": np.frombuffer(offsets, np.int64)[first : first + count + 1]
            if count
            else np.zeros(1, np.int64),
            "text": np.frombuffer(data or b"", np.uint8),
        }

    def texts(self, values: Any) -> Array:
        unseen = self.rows - 1
        if unseen == 0 or len(values) == 0:
            return np.full(len(values), unseen, np.int32)
        hashes = hash_texts(values)
        place = np.minimum(np.searchsorted(self._hashes, hashes), unseen - 1)
        rows = self._order[place]
        # Equal hashes are not proof: an unseen value must never land on a known value's row.
        same = pc.equal(self.values.take(pa.array(rows)), values.cast(self.values.type))
        return _narrow(np.where(same.to_numpy(zero_copy_only=False), rows, unseen), self.rows)

    def integers(self, values: Array) -> Array:
        unseen = self.rows - 1
        if len(self._numbers) == 0:
            return np.full(len(values), unseen, np.int32)
        if self._direct is not None:
            place = values - self._low
            outside = (place < 0) | (place >= len(self._direct)) | (values < self._low)
            if not outside.any():
                return self._direct.take(place)
            return np.where(
                outside, np.int32(unseen), self._direct.take(np.where(outside, 0, place))
            )
        place = np.minimum(np.searchsorted(self._numbers, values), len(self._numbers) - 1)
        found = self._numbers.take(place) == values
        return _narrow(np.where(found, self._number_rows.take(place), unseen), self.rows)


def canonical_integers(texts: Any) -> tuple[Array, Array]:
    """The texts that are integers as Arrow writes them, as numbers, and their positions."""
    known = pc.match_substring_regex(texts, _INTEGER).to_numpy(zero_copy_only=False)
    places = np.flatnonzero(known)
    numbers = texts.take(pa.array(places)).cast(pa.decimal128(38, 0))
    fits = pc.and_(pc.greater_equal(numbers, _LEAST), pc.less_equal(numbers, _MOST))
    places = places[fits.to_numpy(zero_copy_only=False)]
    return numbers.filter(fits).cast(pa.int64()).to_numpy(zero_copy_only=False), places


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
        truth: Sequence[str] = ("false", "true"),
    ) -> None:
        self._texts, self._integers, self._null, self._truth = texts, integers, null, truth
        self._last: tuple[Any, Array, dict[str, Array]] | None = None

    def __call__(self, array: Any, column: str, faults: Callable[[Array, str], None]) -> Array:
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
            texts = pa.array(self._truth)
            codes = array.cast(pa.int8())
            return self(pa.DictionaryArray.from_arrays(codes, texts), column, faults)
        if kind in ("times", "bytes"):
            array = array.cast(pa.string() if kind == "times" else pa.binary())
            array = array if kind == "times" else array.view(pa.string())
        elif kind != "text":
            raise bad_data(
                "GR704",
                f"column `{column}` holds {kind}, but single ids are needed",
                "say how lists are pooled: pool: sum | mean" if kind.startswith("lists") else "",
            )
        return self._of_texts(array, faults)

    def _of_texts(self, array: Any, faults: Callable[[Array, str], None]) -> Array:
        if not pt.is_string(array.type) and not pt.is_large_string(array.type):
            array = array.cast(pa.string())
        good = valid_utf8(array)
        if good is not None:
            faults(~good, "is not valid UTF-8")
            array = pc.if_else(pa.array(good), array, pa.scalar(None, array.type))
        if not array.null_count:
            return self._checked(self._texts(array), faults, None)
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        return self._checked(self._spread(self._texts(array.drop_null()), valid), faults, valid)

    def _of_numbers(self, array: Any, column: str, faults: Callable[[Array, str], None]) -> Array:
        valid = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None
        if pt.is_decimal(array.type):
            return self(array.cast(pa.string()), column, faults)
        if pt.is_uint64(array.type) and (pc.max(array).as_py() or 0) >= 1 << 63:
            return self(array.cast(pa.string()), column, faults)
        if array.null_count:
            array = pc.fill_null(array, pa.scalar(0, array.type))
        values = array.to_numpy(zero_copy_only=False)
        if values.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                whole = (np.abs(values) < 2.0**63) & (np.floor(values) == values)
            if not whole.all():
                faults(~whole, "is not a whole number, but an id")
            values = np.where(whole, values, 0)
            valid = whole if valid is None else whole & valid
        results = self._integers(values.astype(np.int64, copy=False))
        return results if valid is None or valid.all() else np.where(valid, results, self._null)

    def _by_dictionary(
        self, array: Any, column: str, faults: Callable[[Array, str], None]
    ) -> Array:
        last = self._last
        if last is None or not last[0].equals(array.dictionary):
            bad: dict[str, Array] = {}
            results = self(array.dictionary, column, lambda mask, why: bad.update({why: mask}))
            extended = np.append(results, np.array([self._null], results.dtype))
            last = (array.dictionary, extended, bad)
            self._last = last
        codes = array.indices
        if codes.null_count:
            codes = pc.fill_null(codes.cast(pa.int64()), len(last[0]))
        codes = codes.to_numpy(zero_copy_only=False)
        for why, mask in last[2].items():
            marked = np.append(mask, False)[codes]
            if marked.any():
                faults(marked, why)
        found: Array = last[1].take(codes)
        return found

    def _spread(self, results: Array, valid: Array) -> Array:
        full = np.full(len(valid), self._null, results.dtype)
        full[valid] = results
        return full

    def _checked(
        self, results: Array, faults: Callable[[Array, str], None], valid: Array | None
    ) -> Array:
        if results.dtype.kind != "i" or not (bad := results == -1).any():
            return results
        if valid is not None:
            bad &= valid
        faults(bad, "is not an integer")
        return np.where(bad, self._null, results)


def _integers(texts: Any) -> Array:
    values: Array = pc.cast(texts, pa.int64()).to_numpy(zero_copy_only=False)
    return values


def _narrow(rows: Array, count: int) -> Array:
    return rows.astype(np.int32 if count <= 1 << 31 else np.int64)
