"""Numbers: vectors of fixed width, transforms, cut points."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from graphrec.data.cells import at_row, numbers_of
from graphrec.data.chunk import Array, Ragged
from graphrec.data.faults import Faults
from graphrec.data.forms import kind_of
from graphrec.data.lists import Lists, lists_of
from graphrec.data.plan import Field
from graphrec.recipe.model import BucketFeature, DenseFeature

__all__ = ["Scale", "cut", "dense", "null_of", "transform", "vectors"]


class Scale(NamedTuple):
    """(x - shift) * factor, and the `mean` that stands for null; [width] each."""

    shift: Array
    factor: Array
    mean: Array


def dense(
    field: Field, array: Any, lists: Lists | None, scale: Scale | None, faults: Faults
) -> Array | Ragged:
    """A dense column, transformed: float32 [B, width], or Ragged [T, width] in a sequence."""
    feature = field.feature
    assert isinstance(feature, DenseFeature)
    null = null_of(feature, scale)
    if lists is None or field.nested:
        values = vectors(field, array, faults, null, lists)
    else:
        report = at_row(faults, array, lists.offsets, field.column)
        values = numbers_of(lists.values, float(null[0]), field.column, report)[:, None]
    result = transform(values, feature.transform, scale)
    large = np.logical_not(np.isfinite(result).all(axis=-1))
    if large.any():
        at_row(faults, array, lists.offsets if lists else None, field.column)(
            large, "does not fit in 32 bits"
        )
    return result if lists is None else Ragged(result, lists.offsets)


def null_of(feature: DenseFeature, scale: Scale | None) -> Array:
    """What stands for null [width], before the transform."""
    if feature.default is not None:
        return np.full(feature.width, feature.default)
    return np.zeros(feature.width) if scale is None else scale.mean


def vectors(
    field: Field, array: Any, faults: Faults, null: Array, steps: Lists | None = None
) -> Array:
    """Numbers [B, width], not yet transformed, with `null` [width] for those that are not there.

    With `steps`, the column's lists, a vector for each of them: [T, width].
    """
    feature = field.feature
    assert isinstance(feature, DenseFeature)
    column, width = field.column, feature.width
    cells, sep = (array, field.sep) if steps is None else (steps.values, feature.sep)
    is_list = kind_of(cells.type).startswith("lists")
    if width == 1 and not is_list and sep is None:
        report = at_row(faults, array, None, column)
        return numbers_of(cells, float(null[0]), column, report)[:, None]
    lists = lists_of(cells, sep, column, single=width == 1, nulls=field.nulls)
    rows = lists.offsets if steps is None else lists.offsets[steps.offsets]
    report = at_row(faults, array, rows, column)
    flat = numbers_of(lists.values, np.nan, column, report)
    lengths = lists.lengths
    full = lengths == width
    if full.all():
        return _filled(flat.reshape(len(lengths), width), null)
    valid = cells.is_valid().to_numpy(zero_copy_only=False)
    if sep is not None and width == 1:
        valid &= lengths > 0
    report = at_row(faults, array, None if steps is None else steps.offsets, column)
    report(~full & valid, f"has not {width} numbers")
    values = np.full((len(lengths), width), np.nan, flat.dtype)
    values[full] = flat[np.repeat(full, lengths)].reshape(-1, width)
    return _filled(values, null)


def _filled(values: Array, null: Array) -> Array:
    missing = np.isnan(values)
    return np.where(missing, null.astype(values.dtype), values) if missing.any() else values


def transform(values: Array, name: str, scale: Scale | None) -> Array:
    """The transformed numbers as float32; log1p is sign(x) log1p(|x|).

    >>> transform(np.array([[-1.0], [0.0]]), "log1p", None).round(3).tolist()
    [[-0.6930000185966492], [0.0]]
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if name == "log1p":
            values = np.copysign(np.log1p(np.abs(values)), values)
        elif scale is not None:
            values = (values - scale.shift) * scale.factor
        return values.astype(np.float32)


def cut(
    field: Field, array: Any, edges: Array, rows: int, faults: Faults, lists: Lists | None
) -> Array:
    """Bucket of each number: how many edges are <= it; null without a default is the last row."""
    feature = field.feature
    assert isinstance(feature, BucketFeature)
    values = array if lists is None else lists.values
    report = at_row(faults, array, lists.offsets if lists else None, field.column)
    numbers = numbers_of(
        values, 0.0 if feature.default is None else feature.default, field.column, report
    )
    buckets = np.searchsorted(edges, numbers.astype(np.float64), side="right").astype(np.int32)
    if feature.default is None and values.null_count:
        buckets[values.is_null().to_numpy(zero_copy_only=False)] = rows - 1
    return buckets
