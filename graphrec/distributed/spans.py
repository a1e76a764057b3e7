"""Which rows of a batch belong to which rank.

The batches are those of one process. The rows of a shuffled block, in the order in which they stand
in their files, are divided evenly: a rank reads a stretch of each block, and has of every batch the
rows that lie in it, about batch / ranks of them. Rows that are not mixed are divided within every
batch instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graphrec.data.chunk import Array

__all__ = ["Division", "UnitRows", "bounds", "divide_batch", "divide_block", "place", "stretches"]

_BITS = 40  # of a place, for the row in its unit


@dataclass(frozen=True)
class UnitRows:
    """What is known of a unit: its chunks as (rows, share of it behind them), and bad rows."""

    chunks: tuple[tuple[int, float], ...]
    bad: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        return sum(rows for rows, _ in self.chunks)

    @property
    def kept(self) -> int:
        return self.rows - len(self.bad)

    def good(self, start: int, stop: int) -> Array:
        """Those of these rows that are not bad."""
        rows = np.arange(start, stop, dtype=np.int64)
        return np.setdiff1d(rows, np.array(self.bad, np.int64)) if self.bad else rows


@dataclass(frozen=True)
class Division:
    """A rank's share of one batch: `places` in their order; no rank has more than `most`."""

    places: Array
    rows: int
    most: int


def place(unit: int, rows: Array) -> Array:
    """One number for a row of a unit: numbers rise with the files."""
    return (np.int64(unit) << _BITS) + rows


def unit_of(places: Array) -> tuple[Array, Array]:
    """The units of places, and the rows in them."""
    return places >> _BITS, places & ((1 << _BITS) - 1)


def bounds(rows: int, ranks: int) -> Array:
    """Where the parts of `ranks` begin and the last ends.

    >>> bounds(7, 2).tolist()
    [0, 3, 7]
    """
    return np.arange(ranks + 1, dtype=np.int64) * rows // ranks


def divide_block(batches: Sequence[Array], ranks: int, rank: int) -> list[Division]:
    """Shares of a block's batches: the block's rows are divided as they stand in the files."""
    every = np.sort(np.concatenate(batches))
    edges = every[bounds(len(every), ranks)[1:-1]]  # the first row of every rank but the first
    divisions = []
    for rows in batches:
        whose = np.searchsorted(edges, rows, side="right")
        most = int(np.bincount(whose, minlength=ranks).max())
        divisions.append(Division(rows[whose == rank], len(rows), most))
    return divisions


def divide_batch(rows: Array, ranks: int, rank: int) -> Division:
    """The share of one batch whose rows are not mixed."""
    edges = bounds(len(rows), ranks)
    most = int(np.diff(edges).max())
    return Division(rows[edges[rank] : edges[rank + 1]], len(rows), most)


def stretches(units: Sequence[UnitRows], low: int, high: int) -> Iterator[Array]:
    """The places of good rows `low` up to `high` of all units, unit by unit."""
    start = 0
    for number, unit in enumerate(units):
        first, last = max(low - start, 0), min(high - start, unit.kept)
        if first < last:
            rows = unit.good(0, unit.rows)[first:last] if unit.bad else np.arange(first, last)
            yield place(number, rows)
        start += unit.kept
