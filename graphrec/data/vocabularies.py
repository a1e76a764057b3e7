"""What the rows of a table stand for: `hash(N)`, integers 0..N-1, listed values (`file`, `fit`).

Every table has one row more than it has known values: the last one is for unseen values and null.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graphrec.data.chunk import Array
from graphrec.data.faults import bad_data
from graphrec.data.forms import bytes_in, offsets_in
from graphrec.data.hashing import hash_integers, hash_texts
from graphrec.recipe.model import IdFeature

__all__ = [
    "HashedRows",
    "ListedRows",
    "RangeRows",
    "Vocabulary",
    "canonical_integers",
    "vocabulary_of",
]

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


def vocabulary_of(feature: IdFeature, values: Any) -> Vocabulary:
    """What `vocab` says of an id feature; `values` are those of a list, where it is one."""
    if feature.vocab.name == "hash":
        return HashedRows(feature.vocab.args[0])
    if feature.vocab.name == "range":
        return RangeRows(feature.vocab.args[0])
    return ListedRows(values)


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
        return {
            "hashes": self._hashes,
            "order": self._order.astype(np.int32 if self.rows < 1 << 31 else np.int64),
            "offsets": offsets_in(texts),
            "text": bytes_in(texts),
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
        known = self._numbers.take(place) == values
        return _narrow(np.where(known, self._number_rows.take(place), unseen), self.rows)


def canonical_integers(texts: Any) -> tuple[Array, Array]:
    """The texts that are integers as Arrow writes them, as numbers, and their positions."""
    known = pc.match_substring_regex(texts, _INTEGER).to_numpy(zero_copy_only=False)
    places = np.flatnonzero(known)
    numbers = texts.take(pa.array(places)).cast(pa.decimal128(38, 0))
    fits = pc.and_(pc.greater_equal(numbers, _LEAST), pc.less_equal(numbers, _MOST))
    places = places[fits.to_numpy(zero_copy_only=False)]
    return numbers.filter(fits).cast(pa.int64()).to_numpy(zero_copy_only=False), places


def _integers(texts: Any) -> Array:
    values: Array = pc.cast(texts, pa.int64()).to_numpy(zero_copy_only=False)
    return values


def _narrow(rows: Array, count: int) -> Array:
    return rows.astype(np.int32 if count <= 1 << 31 else np.int64)
