"""Edges of equally full buckets, where one value may be half of the column."""

from __future__ import annotations

import numpy as np

from graphrec.data.chunk import Array

__all__ = ["quantile_edges"]


def quantile_edges(values: Array, buckets: int) -> Array:
    """Ascending edges of at most `buckets` buckets, cut where x >= edge.

    A value that fills more than one bucket's share gets one of its own; what lies between such
    values is cut into quantiles, with buckets by its rows. Plain quantiles of a column that is 0 in
    nine rows of ten would leave five edges of fifty.

    >>> quantile_edges(np.array([0.0] * 6 + [1.0, 2.0, 3.0, 4.0]), 3)
    array([1. , 2.5])
    """
    ordered = np.sort(values)
    distinct, starts, counts = np.unique(ordered, return_index=True, return_counts=True)
    if len(distinct) <= buckets:
        return distinct[1:]
    ends = starts + counts
    heavy = _heavy(counts, buckets)
    # Runs of light values between the heavy ones, as [start, stop) of the ordered values.
    bounds = np.concatenate(([0], np.stack((starts[heavy], ends[heavy]), 1).ravel(), [len(values)]))
    runs = [(a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=True) if b > a]
    shares = _shares(np.array([b - a for a, b in runs]), buckets - len(heavy))
    edges = [np.append(distinct[heavy], ordered[[a for a, _ in runs]])]
    for (start, stop), share in zip(runs, shares, strict=True):
        edges.append(np.quantile(ordered[start:stop], np.arange(1, share) / share))
    every: Array = np.unique(np.concatenate(edges))
    return every[1:] if every[0] == distinct[0] else every


def _heavy(counts: Array, buckets: int) -> Array:
    """Places of the values that get a bucket of their own, the fullest where there are too many."""
    heavy = np.flatnonzero(counts * buckets > counts.sum())
    by_rows = heavy[np.argsort(-counts[heavy], kind="stable")]
    for number in range(len(heavy), 0, -1):
        chosen = np.sort(by_rows[:number])
        inner = np.diff(chosen, prepend=-1, append=len(counts)) > 1
        if number + int(inner.sum()) <= buckets:
            return chosen
    return heavy[:0]


def _shares(rows: Array, buckets: int) -> list[int]:
    """`buckets` divided by rows, one at least for each."""
    shares = np.ones(len(rows), np.int64)
    for _ in range(buckets - len(rows)):
        shares[np.argmax(rows / shares)] += 1
    return [int(share) for share in shares]
