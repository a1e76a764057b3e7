"""Which rows of an epoch belong to which rank, and where they stand in the batches of one process.

An epoch's order is that of one process: units permuted, blocks mixed, batches cut. Each block is
divided evenly: rank r of W has its rows n r / W up to n (r + 1) / W. So a rank reads whole
stretches of files, and its share of a batch are those of the batch's rows that lie in its stretch:
about batch / W of them. Rows that are not mixed are divided within every batch instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graphrec.data.chunk import Array
from graphrec.data.loader import cuts

__all__ = ["Division", "Stretch", "UnitRows", "bounds", "divide", "evenly", "stretches"]


@dataclass(frozen=True)
class UnitRows:
    """What is known of a unit: its rows, and which of them (from 0, rising) are left out."""

    rows: int
    bad: tuple[int, ...] = ()

    @property
    def kept(self) -> int:
        return self.rows - len(self.bad)

    def place(self, kept: int) -> int:
        """Where the rows before the kept one of that number end; bad ones go with those before."""
        if kept >= self.kept:
            return self.rows
        if kept <= 0:
            return 0
        place = kept
        for bad in self.bad:
            if bad > place:
                break
            place += 1
        return place


@dataclass(frozen=True)
class Stretch:
    """Rows `start` up to `stop` of the unit of that number in the epoch's order."""

    unit: int
    start: int
    stop: int


@dataclass(frozen=True)
class Division:
    """A rank's share of one batch: rows `index` of its own part of the block, in their order.

    `rows` are those of the whole batch, `most` the largest share of a rank.
    """

    index: Array
    rows: int
    most: int


def bounds(rows: int, ranks: int) -> Array:
    """Where the parts of `ranks` begin and the last ends.

    >>> bounds(7, 2).tolist()
    [0, 3, 7]
    """
    return np.arange(ranks + 1, dtype=np.int64) * rows // ranks


def evenly(rows: int, batch: int, ranks: int, rank: int, *, mixed: bool) -> list[tuple[int, int]]:
    """The rows of a block that belong to `rank`, as ranges."""
    if mixed:
        edges = bounds(rows, ranks)
        return [(int(edges[rank]), int(edges[rank + 1]))]
    found = []
    for start, stop in cuts(rows, batch):
        edges = start + bounds(stop - start, ranks)
        found.append((int(edges[rank]), int(edges[rank + 1])))
    return found


def divide(
    rows: int, batch: int, ranks: int, rank: int, order: Array | None, start_row: int = 0
) -> Iterator[Division]:
    """The shares of `rank` in the batches of a block behind its first `start_row` rows.

    `order` is the block's permutation, None where it is not mixed.
    """
    edges = bounds(rows, ranks)
    passed = 0
    for start, stop in cuts(rows, batch):
        inner = start + bounds(stop - start, ranks)
        begin = max(start, start_row)
        if order is None:
            low, high = max(int(inner[rank]), begin), int(inner[rank + 1])
            index = passed + np.arange(low, max(low, high)) - int(inner[rank])
            passed += int(inner[rank + 1] - inner[rank])
            most = int(np.diff(np.maximum(inner, begin)).max())
        else:
            taken = order[begin:stop] if begin < stop else order[:0]
            whose = np.searchsorted(edges, taken, side="right") - 1
            index = taken[whose == rank] - edges[rank]
            most = int(np.bincount(whose, minlength=ranks).max()) if len(taken) else 0
        if stop > start_row:
            yield Division(index, stop - begin, most)


def stretches(units: Sequence[UnitRows], low: int, high: int) -> Iterator[Stretch]:
    """Where rows `low` up to `high` of the epoch's order lie, bad ones between them included."""
    start = 0
    for number, unit in enumerate(units):
        stop = start + unit.kept
        if low < stop and high > start:
            first, last = unit.place(max(low, start) - start), unit.place(min(high, stop) - start)
            if first < last:
                yield Stretch(number, first, last)
        start = stop
