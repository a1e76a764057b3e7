"""What one pass over the training data teaches: vocabularies, statistics, quantiles."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from graphrec.data.accumulators import Moments, Sample, Values
from graphrec.data.cells import at_row, numbers_of
from graphrec.data.chunk import Array
from graphrec.data.faults import Faults
from graphrec.data.files import vocabulary_file
from graphrec.data.forms import kind_of, plain, settled_table, valid_utf8
from graphrec.data.learned import Learned
from graphrec.data.lists import ids_of_steps, steps_of, values_of
from graphrec.data.numbers import Scale, vectors
from graphrec.data.plan import Field, item_plan, plan, row_plan
from graphrec.data.source import Raw, Source
from graphrec.data.spelling import (
    canonical_text,
    canonical_texts,
    is_whole,
    texts_of_floats,
    texts_of_times,
)
from graphrec.data.value_maps import not_single
from graphrec.recipe.model import BucketFeature, DenseFeature, IdFeature, Recipe

__all__ = ["learn"]


def learn(recipe: Recipe, source: Source, items: Source | None = None) -> Learned:
    """One pass over the source, and over the items there are, if these are to teach anything."""
    learned = _given(recipe)
    fields = [f for f in plan(recipe).fields if _learns(f, learned)]
    counters: dict[str, Values] = {}
    moments: dict[str, Moments] = {}
    samples: dict[str, Sample] = {}
    for f in fields:
        if isinstance(f.feature, IdFeature):
            counters.setdefault(str(f.table), Values())
        elif isinstance(f.feature, DenseFeature):
            moments[f.key] = Moments(f.feature.width)
        else:
            samples[f.key] = Sample(zlib.crc32(f.key.encode()))
    for part, of_part in _by_source(recipe, fields, source, items):
        _read(recipe, part, of_part, counters, moments, samples)
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


def _by_source(
    recipe: Recipe, fields: list[Field], source: Source, items: Source | None
) -> Iterator[tuple[Source, list[Field]]]:
    """Who reads what: of a retriever the features of items are in a file of their own."""
    if items is None:
        yield source, fields
        return
    for part, columns in ((source, row_plan(recipe)), (items, item_plan(recipe))):
        keys = {field.key for field in columns.fields}
        yield part, [f for f in fields if f.key in keys]


def _read(
    recipe: Recipe,
    source: Source,
    fields: list[Field],
    counters: dict[str, Values],
    moments: dict[str, Moments],
    samples: dict[str, Sample],
) -> None:
    """One pass over a source for these fields."""
    for raw in _rows(source, sorted({f.column for f in fields})):
        table = settled_table(raw.table, recipe.data.nulls)
        faults = Faults(raw.file, table.num_rows, raw.row, recipe.data.bad_rows)
        lessons = _values(fields, table, faults)
        keep = faults.keep()
        if keep is not None:  # what is in quarantined rows teaches nothing
            good = Faults(raw.file, len(keep), raw.row)
            lessons = _values(fields, table.take(pa.array(keep)), good)
        for f, (values, counts) in zip(fields, lessons, strict=True):
            if isinstance(f.feature, IdFeature):
                counters[str(f.table)].add(values, counts)
            elif isinstance(f.feature, DenseFeature):
                moments[f.key].add(values)
            else:
                samples[f.key].add(values)


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
            zscore = feature.transform == "zscore"
            span = second if zscore else second - first
            mean = first if zscore else (first + second) / 2
            learned.scales[f.stats] = Scale(first, 1.0 / np.where(span == 0, 1.0, span), mean)
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
    lessons: list[tuple[Any, Array | None]] = []
    for f in fields:
        array = table.column(f.column)
        if isinstance(f.feature, IdFeature):
            lessons.append(_counted(f, array))
        elif isinstance(f.feature, DenseFeature):
            null = np.full(f.feature.width, np.nan)
            lessons.append((vectors(f, array, faults, null), None))
        else:
            lessons.append((_known_numbers(f, array, faults), None))
    return lessons


def _counted(f: Field, array: Any) -> tuple[Any, Array]:
    """Distinct values of a column and how often each occurs; nulls count for the default."""
    if f.sequence is not None:
        (lists,) = steps_of([(f, array)])
        array = ids_of_steps(f, lists).values if f.nested else lists.values
    elif f.form == "multi":
        array = values_of(f, array).values
    default = f.feature.default
    if kind_of(array.type) not in ("text", "numbers", "truth values", "times", "bytes", "nothing"):
        raise not_single(kind_of(array.type), f.column)
    if pt.is_dictionary(array.type):
        codes = array.indices.drop_null().to_numpy(zero_copy_only=False)
        counts = np.bincount(codes, minlength=len(array.dictionary))
        values = array.dictionary.filter(pa.array(counts > 0))
        counts = counts[counts > 0]
    else:
        pairs = pc.value_counts(array.drop_null())
        values, counts = pairs.field("values"), pairs.field("counts").to_numpy(zero_copy_only=False)
    values, counts = _as_texts(values, counts)
    if array.null_count and default is not None:
        spelled = canonical_text(str(default))
        values = pa.concat_arrays([values, pa.array([spelled], pa.large_string())])
        counts = np.append(counts, array.null_count)
    return values, counts


def _as_texts(values: Any, counts: Array) -> tuple[Any, Array]:
    """Distinct values in their one spelling; those that are no ids are left to the encoder."""
    kind = kind_of(values.type)
    if kind == "numbers" and pt.is_floating(values.type):
        numbers = values.to_numpy(zero_copy_only=False)
        if is_whole(numbers).all():
            values = pa.array(numbers.astype(np.int64))
        else:
            values = texts_of_floats(numbers)
    elif kind == "truth values":
        values = values.cast(pa.int8())
    elif kind == "times":
        values = texts_of_times(values)
    elif kind == "bytes":
        values = values.cast(pa.binary()).view(pa.string())
    texts = values.cast(pa.large_string())
    valid = valid_utf8(texts)
    if valid is not None:
        texts, counts = texts.filter(pa.array(valid)), counts[valid]
    return canonical_texts(texts), counts


def _known_numbers(f: Field, array: Any, faults: Faults) -> Array:
    feature = f.feature
    assert isinstance(feature, BucketFeature)
    lists = values_of(f, array) if f.form == "multi" else None
    values = plain(array if lists is None else lists.values)
    report = at_row(faults, array, lists.offsets if lists else None, f.column)
    numbers = numbers_of(values, np.nan, f.column, report).astype(np.float64)
    return numbers[~np.isnan(numbers)]
