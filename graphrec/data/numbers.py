"""Numbers: vectors of fixed width, transforms, cut points."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphrec.data.cells import Lists, at_row, kind_of, lists_of, numbers_of
from graphrec.data.chunk import Array, Ragged
from graphrec.data.faults import Faults
from graphrec.data.plan import Field
from graphrec.recipe.model import BucketFeature, DenseFeature

__all__ = ["Scale", "cut", "dense", "transform", "vectors"]

Scale = tuple[Array, Array]
"""Shift and factor, [width] each: (x - shift) * factor."""


def dense(
    field: Field, array: Any, lists: Lists | None, scale: Scale | None, faults: Faults
) -> Array | Ragged:
    """A dense column, transformed: float32 [B, width], or Ragged [T, width] in a sequence."""
    feature = field.feature
    assert isinstance(feature, DenseFeature)
    if lists is None or field.nested:
        values = vectors(field, array, faults, lists)
    else:
        report = at_row(faults, array, lists.offsets, field.column)
        values = numbers_of(lists.values, feature.default, field.column, report)[:, None]
    result = transform(values, feature.transform, scale)
    large = np.logical_not(np.isfinite(result).all(axis=-1))
    if large.any():
        at_row(faults, array, lists.offsets if lists else None, field.column)(
            large, "does not fit in 32 bits"
        )
    return result if lists is None else Ragged(result, lists.offsets)


def vectors(field: Field, array: Any, faults: Faults, steps: Lists | None = None) -> Array:
    """Numbers [B, width] with nulls replaced by the default, not yet transformed.

    With `steps`, the column's lists, a vector for each of them: [T, width].
    """
    feature = field.feature
    assert isinstance(feature, DenseFeature)
    column, width = field.column, feature.width
    cells, sep = (array, field.sep) if steps is None else (steps.values, feature.sep)
    is_list = kind_of(cells.type).startswith("lists")
    if width == 1 and not is_list and sep is None:
        report = at_row(faults, array, None, column)
        return numbers_of(cells, feature.default, column, report)[:, None]
    lists = lists_of(cells, sep, column, single=width == 1)
    rows = lists.offsets if steps is None else lists.offsets[steps.offsets]
    flat = numbers_of(lists.values, feature.default, column, at_row(faults, array, rows, column))
    lengths = lists.lengths
    full = lengths == width
    if full.all():
        return flat.reshape(len(lengths), width)
    valid = cells.is_valid().to_numpy(zero_copy_only=False)
    if sep is not None and width == 1:
        valid &= lengths > 0
    report = at_row(faults, array, None if steps is None else steps.offsets, column)
    report(~full & valid, f"has not {width} numbers")
    values = np.full((len(lengths), width), feature.default, flat.dtype)
    values[full] = flat[np.repeat(full, lengths)].reshape(-1, width)
    return values


def transform(values: Array, name: str, scale: Scale | None) -> Array:
    """The transformed numbers as float32; log1p is sign(x) log1p(|x|).

    >>> transform(np.array([[-1.0], [0.0]]), "log1p", None).round(3).tolist()
    [[-0.6930000185966492], [0.0]]
    """
    if name == "log1p":
        values = np.copysign(np.log1p(np.abs(values)), values)
    elif scale is not None:
        values = (values - scale[0]) * scale[1]
    with np.errstate(over="ignore"):
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
    found = np.searchsorted(edges, numbers.astype(np.float64), side="right").astype(np.int32)
    if feature.default is None and values.null_count:
        found[values.is_null().to_numpy(zero_copy_only=False)] = rows - 1
    return found
