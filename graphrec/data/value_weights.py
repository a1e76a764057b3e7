"""Weights of the values of pooled features: in a column of their own, or inside the values."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphrec.data.cells import at_row, cast_down, cell, numbers_of
from graphrec.data.chunk import Array
from graphrec.data.faults import Faults
from graphrec.data.lists import Lists, given_values, lists_of
from graphrec.data.plan import Field

__all__ = ["weights_of"]


def weights_of(field: Field, array: Any, lists: Lists, table: Any, faults: Faults) -> Array | None:
    """Weights of the values of a pooled feature [T]."""
    if field.inside:
        report = at_row(faults, array, lists.offsets, field.column)
        return cast_down(numbers_of(lists.weights, 1.0, field.column, report), report)
    if field.weights is None:
        return None
    column, given = field.weights, table.column(field.weights)
    weights = lists_of(given, field.sep, column, single=True, nulls=field.nulls)
    # A value that is none has a weight, too.
    every = lists_of(array, field.sep, field.column, single=True, nulls=field.nulls)
    odd = weights.lengths != every.lengths
    if odd.any():
        why = f"has not as many weights as `{field.column}` has values"
        faults.add(odd, column, why, lambda i: cell(given, i))
    # Values of the other rows keep their weights: a row left out changes no row beside it.
    counted, there = np.repeat(~odd, every.lengths), given_values(field, every)
    wanted = np.zeros(len(weights.values), bool)
    wanted[np.repeat(~odd, weights.lengths)] = there[counted]
    weights = weights.only(wanted)
    report = at_row(faults, given, weights.offsets, column)
    result = np.ones(len(lists.values), np.float32)
    result[counted[there]] = cast_down(numbers_of(weights.values, 1.0, column, report), report)
    return result
