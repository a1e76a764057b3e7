"""What the tasks need beside the features: labels, sample weights, spaces and groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graphrec.data.cells import Report, at_row, cast_down, numbers_of
from graphrec.data.chunk import NULL_KEY, Array, Chunk
from graphrec.data.counts import Counts, widen
from graphrec.data.faults import Faults
from graphrec.data.hashing import hash_texts
from graphrec.data.plan import Plan
from graphrec.data.spelling import canonical_texts
from graphrec.data.value_maps import ValueMap
from graphrec.recipe.model import Task

__all__ = ["Targets"]

_MISSING = " (a label that is not known is null)"
_HALVES = " (not known: write null; of labels -1 and 1: label: {column: ..., above: 0})"
_STRETCH = 1000  # rows of one class in a row: by chance only where the other class is rare


class Targets:
    """Reads labels (float32, null NaN; multiclass int64, null -1), weights and columns.

    `Batch.columns` has, under the name the recipe uses, float32 numbers for a space (NaN for null;
    the label itself where the space is a task's label) and int64 identities for sessions and
    groups: integers themselves, hashes of texts, NULL_KEY for null.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._keys = {
            name: ValueMap(lambda t: hash_texts(t).view(np.int64), lambda v: v, NULL_KEY)
            for name in plan.groups
        }

    def read(self, table: Any, chunk: Chunk, faults: Faults) -> None:
        """Fill the chunk's labels, weights and columns; bad cells go to `faults`."""
        for name, task in self._plan.tasks.items():
            if task.label:
                chunk.labels[name] = _label(task, table.column(task.label.column), faults)
            if task.sample_weight:
                column = task.sample_weight
                chunk.weights[name] = _weights(table.column(column), column, faults)
        for key, column in self._plan.groups.items():
            array = table.column(column)
            chunk.columns[key] = self._keys[key](array, column, at_row(faults, array, None, column))
        for key, column in self._plan.spaces.items():
            if column in chunk.labels:
                label = chunk.labels[column]
                chunk.columns[key] = (
                    np.where(label == -1, np.nan, label) if label.dtype == np.int64 else label
                )
            else:
                array = table.column(column)
                report = at_row(faults, array, None, column)
                values = numbers_of(array, np.nan, column, report, nan_is_null=True)
                chunk.columns[key] = cast_down(values, report)

    def count(self, chunk: Chunk, counts: Counts) -> None:
        """Count labels that are missing, rows that teach, and rows in stretches of one class."""
        for name, labels in chunk.labels.items():
            known = labels >= 0 if labels.dtype.kind == "i" else ~np.isnan(labels)
            number = int(np.count_nonzero(known))
            counts.unlabelled[name] += len(labels) - number
            if not number:
                continue
            given = labels if number == len(labels) else labels[known]
            low, high = float(given.min()), float(given.max())
            widen(counts.labels, name, (low, high))
            counts.positive[name] += int(np.count_nonzero(given > 0))
            if low == high and number >= _STRETCH:
                counts.one_class[name] += number
            counts.usable[name] += self._usable(name, known, chunk)

    def _usable(self, name: str, known: Array, chunk: Chunk) -> int:
        """Rows [B] with a label that count for the task's loss."""
        space = self._plan.tasks[name].space
        if name in chunk.weights:
            known = known & (chunk.weights[name] > 0)
        if space is not None:
            inside = chunk.columns[space.label] > 0
            known = known & (np.where(inside, space.inside, space.outside) > 0)
        return int(np.count_nonzero(known))


def _label(task: Task, array: Any, faults: Faults) -> Array:
    """Labels [B]: float32 with NaN, or int64 classes with -1, where there is none."""
    assert task.label is not None
    column = task.label.column
    report = at_row(faults, array, None, column)
    if task.label.classes:
        values = _class_numbers(array, task.label.classes, report)
    else:
        values = numbers_of(array, np.nan, column, report, nan_is_null=True)
    known = ~np.isnan(values)
    if task.kind == "multiclass":
        classes = task.classes or 0
        legal = (values == np.floor(values)) & (values >= 0) & (values < classes)
        help_text = "" if not (known & (values == -1)).any() else _MISSING
        report(known & ~legal, f"is no class 0..{classes - 1}{help_text}")
        return np.where(known & legal, values, -1).astype(np.int64)
    low, high = task.label.above, task.label.below
    if low is not None or high is not None:
        inside = (values > (-np.inf if low is None else low)) & (
            values < (np.inf if high is None else high)
        )
        values = np.where(known, inside, np.nan)
    if task.label.transform == "log1p":
        values = np.copysign(np.log1p(np.abs(values)), values)
    if task.label.soft:
        report(known & ~((values >= 0) & (values <= 1)), "is no probability from 0 to 1")
    elif task.kind == "binary":
        bad = known & (values != 0) & (values != 1)
        help_text = _HALVES if (known & (values == -1)).any() else ""
        between = known & (values > 0) & (values < 1)
        if between.any() and not help_text:
            help_text = " (a probability? label: {column: ..., soft: true})"
        report(bad, f"is neither 0 nor 1{help_text}")
    return cast_down(values, report)


def _class_numbers(array: Any, classes: Sequence[str], report: Report) -> Array:
    """The place of each text among the classes [B], NaN where there is none."""
    if pa.types.is_floating(array.type):  # a column of whole numbers with nulls
        array = pc.if_else(pc.is_nan(array), None, array).cast(pa.int64(), safe=False)
    texts = canonical_texts(array.cast(pa.string()))
    place = pc.index_in(texts, value_set=pa.array(classes, pa.string()))
    known = texts.is_valid().to_numpy(zero_copy_only=False)
    numbers = place.cast(pa.float64()).to_numpy(zero_copy_only=False)
    report(known & np.isnan(numbers), f"is none of the classes {', '.join(classes)}"[:200])
    return np.asarray(numbers)


def _weights(array: Any, column: str, faults: Faults) -> Array:
    report = at_row(faults, array, None, column)
    values = numbers_of(array, 0.0, column, report)
    report(values < 0, "is a negative weight")
    if array.null_count:
        report(array.is_null().to_numpy(zero_copy_only=False), "is no weight")
    return cast_down(values, report)
