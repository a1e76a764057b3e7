"""What is counted while training data pass by: distinct texts, moments, a sample of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graphrec.data.chunk import Array
from graphrec.data.numbers import Scale
from graphrec.data.quantiles import quantile_edges

__all__ = ["EXACT", "Moments", "Sample", "Values"]

EXACT = 1 << 20
"""Quantiles are exact up to that many values, taken from a seeded sample of that size beyond."""


class Values:
    """Counts distinct texts; memory grows with their number, not with the rows."""

    def __init__(self) -> None:
        self._merged = pa.table(
            {"value": pa.array([], pa.large_string()), "count": pa.array([], pa.int64())}
        )
        self._pending: list[Any] = []
        self._size = 0

    def add(self, values: Any, counts: Array | None) -> None:
        self._pending.append(pa.table({"value": values, "count": pa.array(counts, pa.int64())}))
        self._size += len(values)
        if self._size > max(1 << 20, 2 * self._merged.num_rows):
            self._merge()

    def _merge(self) -> None:
        both = pa.concat_tables([self._merged, *self._pending])
        summed = both.group_by("value", use_threads=False).aggregate([("count", "sum")])
        self._merged = summed.rename_columns({"count_sum": "count"})
        self._pending, self._size = [], 0

    def texts(self, least: int) -> Any:
        """Values that occur `least` times or more; the most frequent first, ties by value."""
        self._merge()
        table = self._merged.filter(pc.greater_equal(self._merged["count"], least))
        table = table.sort_by([("count", "descending"), ("value", "ascending")])
        values = table["value"].combine_chunks()
        return values if isinstance(values, pa.Array) else pa.chunked_array(values).combine_chunks()


class Moments:
    """Mean, variance and extremes of columns in one pass (Chan, Golub and LeVeque, 1979).

    What is not known (NaN) counts for nothing.
    """

    def __init__(self, width: int) -> None:
        self.count = np.zeros(width)
        self.mean, self.spread = np.zeros(width), np.zeros(width)
        self.low, self.high = np.full(width, np.inf), np.full(width, -np.inf)

    def add(self, values: Array) -> None:
        values = values.astype(np.float64)
        known = ~np.isnan(values)
        count = known.sum(axis=0).astype(np.float64)
        if not count.any():
            return
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1.0)
            spread = (np.where(known, values - mean, 0.0) ** 2).sum(axis=0)
            total, delta = self.count + count, mean - self.mean
            whole = np.maximum(total, 1.0)
            self.spread += spread + delta**2 * self.count * count / whole
            self.mean += delta * count / whole
        self.count = total
        self.low = np.minimum(self.low, np.where(known, values, np.inf).min(axis=0))
        self.high = np.maximum(self.high, np.where(known, values, -np.inf).max(axis=0))

    def scale(self, transform: str) -> Scale:
        known = self.count > 0
        if transform == "zscore":
            shift, span = self.mean, np.sqrt(self.spread / np.maximum(self.count, 1.0))
        else:
            shift = np.where(known, self.low, 0.0)
            with np.errstate(over="ignore"):
                span = np.where(known, self.high, 0.0) - shift
        return Scale(shift, 1.0 / np.where(known & (span != 0), span, 1.0), self.mean)


class Sample:
    """All values while they are few, then a uniform sample: those that drew the least keys."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._parts: list[tuple[Array, Array]] = []
        self._size = 0

    def add(self, values: Array) -> None:
        self._parts.append((values, self._random.random(len(values))))
        self._size += len(values)
        if self._size > 2 * EXACT:
            self._shrink()

    def _shrink(self) -> None:
        values = np.concatenate([v for v, _ in self._parts]) if self._parts else np.empty(0)
        keys = np.concatenate([k for _, k in self._parts]) if self._parts else np.empty(0)
        if len(values) > EXACT:
            least = np.argpartition(keys, EXACT)[:EXACT]
            values, keys = values[least], keys[least]
        self._parts, self._size = [(values, keys)], len(values)

    def edges(self, buckets: int) -> Array:
        self._shrink()
        values = self._parts[0][0]
        return quantile_edges(values, buckets) if len(values) else np.empty(0)
