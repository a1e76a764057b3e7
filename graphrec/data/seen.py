"""Which values of `hash(N)` features training has met: a sketch of bounded memory.

Values of a hashed feature share rows by nature, so no row tells whether a value was ever trained.
Here every value marks one of many slots by the other bits of its hash. An unseen value meets a
marked slot by chance as often as slots are marked, and its count is corrected by that (linear
counting: Whang, Vander-Zanden and Taylor, ACM TODS 1990).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphrec.data.chunk import Array
from graphrec.data.hashing import Hashes, hash_integers, hash_texts

__all__ = ["SeenValues", "SlottedRows"]

_LEAST, _MOST = 16, 22
"""Bits of a slot's number; a table has slots for eight times its rows, from 64 KiB to 4 MiB."""
_FULL = 0.98
"""Share of marked slots beyond which nothing can be told."""
_ROW_BITS = 40


class SlottedRows:
    """Row and slot of a hashed value in one integer: `slot << 40 | row`.

    Null has the slot behind the last one, and the row it has without slots.
    """

    def __init__(self, size: int, null: int, bits: int) -> None:
        self._size, self._shift = np.uint64(size), np.uint64(64 - bits)
        self.null = ((1 << bits) << _ROW_BITS) | null

    def texts(self, values: Any) -> Array:
        return self._packed(hash_texts(values))

    def integers(self, values: Array) -> Array:
        return self._packed(hash_integers(values))

    def _packed(self, hashes: Hashes) -> Array:
        slots = (hashes >> self._shift) << np.uint64(_ROW_BITS)
        return (slots | (hashes % self._size)).view(np.int64)

    @staticmethod
    def parts(packed: Array) -> tuple[Array, Array]:
        """Rows and slots."""
        return packed & ((1 << _ROW_BITS) - 1), packed >> _ROW_BITS


class SeenValues:
    """The values that training has met, by table: `sizes` are those of `hash(N)`.

    Threads may mark and look at the same time. `known` says whether all that was trained is in it,
    `complete` whether a whole epoch is: before that, every value may yet come.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.bits = {
            table: min(max((8 * size).bit_length(), _LEAST), _MOST) for table, size in sizes.items()
        }
        self._marks = {table: np.zeros(1 << bits, bool) for table, bits in self.bits.items()}
        self.known = self.complete = True

    def mark(self, table: str, slots: Array) -> None:
        """Note values of training rows."""
        marks = self._marks[table]
        marks[slots[slots < len(marks)]] = True

    def look(self, table: str, slots: Array) -> tuple[int, int]:
        """How many values these are, and how many of them training has not met.

        Both are 0 where the sketch can't tell.
        """
        marks = self._marks[table]
        marked = np.count_nonzero(marks) / len(marks)
        if not (self.known and self.complete) or not marked or marked > _FULL:
            return 0, 0
        slots = slots[slots < len(marks)]
        missed = len(slots) - int(np.count_nonzero(marks[slots]))
        return len(slots), min(len(slots), round(missed / (1 - marked)))

    def state(self) -> dict[str, Array]:
        """The marks as bytes, eight slots each, by table."""
        return {table: np.packbits(marks) for table, marks in self._marks.items()}

    def load(self, state: Mapping[str, Array]) -> None:
        """Take over what `state` was; without it nothing is known of what was trained before."""
        self.known = self._marks.keys() <= state.keys()
        for table in self._marks.keys() & state.keys():
            self._marks[table] = np.unpackbits(state[table]).astype(bool)
