"""What one pass over the training data teaches: vocabularies, statistics, quantiles."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from graphrec.data.cells import (
    at_row,
    ids_of_steps,
    kind_of,
    lists_of,
    numbers_of,
    plain,
    steps_of,
    valid_utf8,
)
from graphrec.data.chunk import Array
from graphrec.data.faults import Faults, bad_data
from graphrec.data.files import vocabulary_file
from graphrec.data.learned import Learned
from graphrec.data.numbers import Scale, vectors
from graphrec.data.plan import Field, plan
from graphrec.data.quantiles import quantile_edges
from graphrec.data.source import Raw, Source
from graphrec.recipe.model import BucketFeature, DenseFeature, IdFeature, Recipe

__all__ = ["EXACT", "learn"]

EXACT = 1 << 20
"""Quantiles are exact up to that many values, taken from a seeded sample of that size beyond."""


def learn(recipe: Recipe, source: Source) -> Learned:
    """One pass over the source, if anything is to be learned from it."""
    learned = _given(recipe)
    fields = [f for f in plan(recipe).fields if _learns(f, learned)]
    counters: dict[str, _Values] = {}
    moments: dict[str, _Moments] = {}
    samples: dict[str, _Sample] = {}
    for f in fields:
        if isinstance(f.feature, IdFeature):
            counters.setdefault(str(f.table), _Values())
        elif isinstance(f.feature, DenseFeature):
            moments[f.key] = _Moments(f.feature.width)
        else:
            samples[f.key] = _Sample(zlib.crc32(f.key.encode()))
    for raw in _rows(source, sorted({f.column for f in fields})):
        faults = Faults(raw.file, raw.table.num_rows, raw.row, recipe.data.bad_rows)
        found = _values(fields, raw.table, faults)
        keep = faults.keep()
        if keep is not None:  # what is in quarantined rows teaches nothing
            good = Faults(raw.file, len(keep), raw.row)
            found = _values(fields, raw.table.take(pa.array(keep)), good)
        for f, (values, counts) in zip(fields, found, strict=True):
            if isinstance(f.feature, IdFeature):
                counters[str(f.table)].add(values, counts)
            elif isinstance(f.feature, DenseFeature):
                moments[f.key].add(values)
            else:
                samples[f.key].add(values)
    for f in fields:
        feature = f.feature
        if isinstance(feature, IdFeature) and f.table not in learned.vocabularies:
            least = feature.vocab.kwargs.get("min_count", 1)
            learned.vocabularies[str(f.table)] = counters[str(f.table)].texts(least)
        elif isinstance(feature, DenseFeature):
            learned.scales[f.key] = moments[f.key].scale(feature.transform)
        elif isinstance(feature, BucketFeature) and not isinstance(feature.edges, tuple):
            learned.edges[f.key] = samples[f.key].edges(feature.edges.args[0])
    return learned


def _given(recipe: Recipe) -> Learned:
    """What the recipe says itself."""
    learned = Learned()
    for f in plan(recipe).fields:
        feature = f.feature
        if isinstance(feature, BucketFeature) and isinstance(feature.edges, tuple):
            learned.edges[f.stats] = np.array(feature.edges, np.float64)
        elif isinstance(feature, IdFeature) and feature.vocab.name == "file":
            if str(f.table) not in learned.vocabularies:
                learned.vocabularies[str(f.table)] = vocabulary_file(feature)
        elif isinstance(feature, DenseFeature) and feature.stats is not None:
            first, second = (np.full(feature.width, x, np.float64) for x in feature.stats)
            span = second if feature.transform == "zscore" else second - first
            learned.scales[f.stats] = (first, 1.0 / np.where(span == 0, 1.0, span))
    return learned


def _learns(f: Field, learned: Learned) -> bool:
    feature = f.feature
    if isinstance(feature, IdFeature):
        return feature.vocab.name == "fit"
    if f.sequence is not None:  # histories use what was learned from the target's column
        return False
    if isinstance(feature, BucketFeature):
        return f.stats not in learned.edges
    return feature.transform in ("zscore", "minmax") and f.stats not in learned.scales


def _rows(source: Source, columns: list[str]) -> Iterator[Raw]:
    if columns:
        for unit in source.units():
            yield from source.read(unit, columns)


def _values(fields: list[Field], table: Any, faults: Faults) -> list[tuple[Any, Array | None]]:
    """What each field adds: distinct values and their counts, or numbers (and None)."""
    found: list[tuple[Any, Array | None]] = []
    for f in fields:
        array = table.column(f.column)
        if isinstance(f.feature, IdFeature):
            found.append(_counted(f, array))
        elif isinstance(f.feature, DenseFeature):
            found.append((vectors(f, array, faults), None))
        else:
            found.append((_known_numbers(f, array, faults), None))
    return found


def _counted(f: Field, array: Any) -> tuple[Any, Array]:
    """Distinct values of a column and how often each occurs; nulls count for the default."""
    if f.sequence is not None:
        lists = steps_of(f, array)
        array = ids_of_steps(f, lists).values if f.nested else lists.values
    elif f.form == "multi":
        array = lists_of(array, f.sep, f.column, single=True).values
    default = f.feature.default
    if pt.is_dictionary(array.type):
        codes = array.indices.drop_null().to_numpy(zero_copy_only=False)
        counts = np.bincount(codes, minlength=len(array.dictionary))
        values = array.dictionary.filter(pa.array(counts > 0))
        counts = counts[counts > 0]
    else:
        found = pc.value_counts(array.drop_null())
        values, counts = found.field("values"), found.field("counts").to_numpy(zero_copy_only=False)
    values, counts = _as_texts(values, counts, f.column)
    if array.null_count and default is not None:
        values = pa.concat_arrays([values, pa.array([str(default)], pa.large_string())])
        counts = np.append(counts, array.null_count)
    return values, counts


def _as_texts(values: Any, counts: Array, column: str) -> tuple[Any, Array]:
    """Distinct values as text; those that are no ids are left to the encoder to refuse."""
    kind = kind_of(values.type)
    if kind == "numbers" and pt.is_floating(values.type):
        numbers = values.to_numpy(zero_copy_only=False)
        whole = (np.abs(numbers) < 2.0**63) & (np.floor(numbers) == numbers)
        values, counts = pa.array(numbers[whole].astype(np.int64)), counts[whole]
    elif kind == "bytes":
        values = values.cast(pa.binary()).view(pa.string())
    elif kind.startswith("lists"):
        raise bad_data(
            "GR704",
            f"column `{column}` holds {kind}, but single ids are needed",
            "say how lists are pooled: pool: sum | mean",
        )
    return values.cast(pa.large_string()), counts


def _known_numbers(f: Field, array: Any, faults: Faults) -> Array:
    feature = f.feature
    assert isinstance(feature, BucketFeature)
    lists = lists_of(array, f.sep, f.column, single=True) if f.form == "multi" else None
    values = plain(array if lists is None else lists.values)
    if feature.default is None:
        valid = values.is_valid().to_numpy(zero_copy_only=False)
    report = at_row(faults, array, lists.offsets if lists else None, f.column)
    numbers = numbers_of(values, feature.default or 0.0, f.column, report)
    return (numbers if feature.default is not None else numbers[valid]).astype(np.float64)


class _Values:
    """Counts distinct texts; memory grows with their number, not with the rows."""

    def __init__(self) -> None:
        self._merged = pa.table(
            {"value": pa.array([], pa.large_string()), "count": pa.array([], pa.int64())}
        )
        self._pending: list[Any] = []
        self._size = 0

    def add(self, values: Any, counts: Array | None) -> None:
        valid = valid_utf8(values)
        table = pa.table({"value": values, "count": pa.array(counts, pa.int64())})
        self._pending.append(table if valid is None else table.filter(pa.array(valid)))
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


class _Moments:
    """Mean, variance and extremes of columns in one pass (Chan, Golub and LeVeque, 1979)."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.mean, self.spread = np.zeros(width), np.zeros(width)
        self.low, self.high = np.full(width, np.inf), np.full(width, -np.inf)

    def add(self, values: Array) -> None:
        if len(values) == 0:
            return
        values = values.astype(np.float64)
        count, mean = len(values), values.mean(axis=0)
        spread = ((values - mean) ** 2).sum(axis=0)
        total, delta = self.count + count, mean - self.mean
        self.spread += spread + delta**2 * self.count * count / total
        self.mean += delta * count / total
        self.count = total
        self.low = np.minimum(self.low, values.min(axis=0))
        self.high = np.maximum(self.high, values.max(axis=0))

    def scale(self, transform: str) -> Scale:
        if self.count == 0:
            return np.zeros_like(self.mean), np.ones_like(self.mean)
        if transform == "zscore":
            shift, span = self.mean, np.sqrt(self.spread / self.count)
        else:
            shift, span = self.low, self.high - self.low
        return shift, 1.0 / np.where(span == 0, 1.0, span)


class _Sample:
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
