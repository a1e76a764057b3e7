"""Rows to try a model with: known and unseen values, nulls, empty lists and histories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphrec.data import Encoder
from graphrec.data.plan import Field
from graphrec.data.vocabularies import ListedRows, RangeRows
from graphrec.recipe.model import BucketFeature, DenseFeature

__all__ = ["proof_rows"]

_NULL, _UNSEEN, _EMPTY = 0.08, 0.08, 0.15
_LONGEST = 30  # steps of a history: enough to cut most, and proofs stay quick

Draw = Callable[[int], list[Any]]


def proof_rows(encoder: Encoder, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows for all columns of the encoder's plan, the same for the same seed."""
    random = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {}
    lengths: dict[str, list[int]] = {}
    for field in encoder.plan.fields:
        if field.column not in columns:
            columns[field.column] = _column(encoder, field, count, random, lengths)
        if field.weights and field.weights not in columns:
            sizes = [_size(cell, field.sep) for cell in columns[field.column]]
            weights = [random.random(size).round(3).tolist() for size in sizes]
            columns[field.weights] = [_said(values, field.sep) for values in weights]
    for cross in encoder.plan.crosses:
        for part in cross.parts:
            if part.column not in columns:
                columns[part.column] = _column(encoder, part, count, random, lengths)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _column(
    encoder: Encoder, field: Field, count: int, random: Any, lengths: dict[str, list[int]]
) -> list[Any]:
    draw = _draw(encoder, field, random)
    if field.form == "single":
        return draw(count)
    if field.sequence is not None:
        name = field.sequence.name
        if name not in lengths:  # some longer than what is kept
            longest = min(field.sequence.max_len + 3, _LONGEST)
            lengths[name] = _lengths(count, longest, random)
        sizes = lengths[name]
    else:
        sizes = _lengths(count, 5, random)
    if field.nested and not isinstance(field.feature, DenseFeature):
        inner = _lengths(sum(sizes), 3, random)
        steps = _cut(draw(sum(inner)), inner)
        values: list[Any] = [_said(step, field.feature.sep) for step in steps]
    else:
        values = draw(sum(sizes))
    if field.inside:
        values = [None if v is None else f"{v}:{random.random():.3f}" for v in values]
    return [_said(cell, field.sep) for cell in _cut(values, sizes)]


def _draw(encoder: Encoder, field: Field, random: Any) -> Draw:
    """Values of the field, one at a time: some null, some unseen where that is allowed."""
    feature = field.feature
    if isinstance(feature, DenseFeature):
        shift, factor, _ = encoder.learned.scales.get(field.stats, (np.zeros(1), np.ones(1), 0))
        # A history's own vectors have their own separator.
        sep = field.sep if field.sequence is None else feature.sep
        return _numbers(feature.width, float(shift[0]), float(1 / factor[0]), sep, random)
    if isinstance(feature, BucketFeature):
        edges = encoder.learned.edges[field.stats]
        middle = float(np.median(edges)) if len(edges) else 0.0
        spread = float(np.ptp(edges)) if len(edges) > 1 else 1.0
        return _numbers(1, middle, spread, None, random)
    vocabulary = encoder.vocabularies[str(field.table)]
    strict = feature.oov == "error"
    known: Callable[[int], list[Any]]
    if isinstance(vocabulary, RangeRows):
        known = lambda n: random.integers(0, vocabulary.size, n).tolist()  # noqa: E731
    elif isinstance(vocabulary, ListedRows) and len(vocabulary.values):
        sample = vocabulary.values.take(random.integers(0, len(vocabulary.values), 500)).to_pylist()
        known = lambda n: [sample[i] for i in random.integers(0, len(sample), n)]  # noqa: E731
    else:
        known = lambda n: [f"v{i}" for i in random.integers(0, 10_000, n)]  # noqa: E731
    unseen: Any = -7 if isinstance(vocabulary, RangeRows) else "never seen"

    def draw(count: int) -> list[Any]:
        values, odds = known(count), random.random(count)
        for place in np.flatnonzero(odds < _UNSEEN + _NULL):
            null = odds[place] < _NULL and not (strict and feature.default is None)
            values[place] = None if null or strict else unseen
        return values

    return draw


def _numbers(width: int, middle: float, spread: float, sep: str | None, random: Any) -> Draw:
    def draw(count: int) -> list[Any]:
        values = (middle + spread * random.normal(size=(count, width))).round(4).tolist()
        cells = [_said(row, sep) if width > 1 else row[0] for row in values]
        for place in np.flatnonzero(random.random(count) < _NULL):
            cells[place] = None
        return cells

    return draw


def _lengths(count: int, longest: int, random: Any) -> list[int]:
    sizes = random.integers(0, longest + 1, count)
    sizes[random.random(count) < _EMPTY] = 0
    return [int(size) for size in sizes]


def _cut(values: list[Any], sizes: list[int]) -> list[list[Any]]:
    ends = np.cumsum([0, *sizes])
    return [values[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]


def _said(values: list[Any], sep: str | None) -> Any:
    """A list, or the text that stands for it; a null among the values can't be written in one."""
    if sep is None:
        return values
    return sep.join(str(value) for value in values if value is not None)


def _size(cell: Any, sep: str | None) -> int:
    if isinstance(cell, str):
        return len(cell.split(str(sep))) if cell else 0
    return len(cell)
