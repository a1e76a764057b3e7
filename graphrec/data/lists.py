"""Several values a row: lists and texts taken apart, steps of histories, values with weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graphrec.data.brackets import bracketed, lists_of_texts
from graphrec.data.chunk import Array, offsets_of, ragged_index
from graphrec.data.faults import bad_data
from graphrec.data.forms import kind_of, plain, settled
from graphrec.data.plan import Field
from graphrec.data.spelling import canonical_text, canonical_texts

__all__ = [
    "Lists",
    "given_values",
    "ids_of_steps",
    "lists_of",
    "rows_of_steps",
    "steps_of",
    "values_of",
]


@dataclass
class Lists:
    """A list column taken apart: flat Arrow `values` [T] and `offsets` [B + 1].

    `weights` [T] are Arrow texts or numbers that stood beside the values, where they did.
    """

    values: Any
    offsets: Array
    weights: Any = None

    @property
    def lengths(self) -> Array:
        return np.diff(self.offsets)

    def cut(self, longest: int, keep: str) -> Lists:
        """Rows of at most `longest` steps; the `last` or `first` ones are kept."""
        lengths = self.lengths
        if not len(lengths) or int(lengths.max()) <= longest:
            return self
        kept = np.minimum(lengths, longest)
        starts = self.offsets[:-1] + (lengths - kept if keep == "last" else 0)
        return Lists(self.values.take(pa.array(ragged_index(starts, kept))), offsets_of(kept))

    def only(self, keep: Array) -> Lists:
        """The values [T] that are marked."""
        if keep.all():
            return self
        offsets = np.append(0, np.cumsum(keep))[self.offsets]
        mask = pa.array(keep)
        weights = None if self.weights is None else self.weights.filter(mask)
        return Lists(self.values.filter(mask), offsets, weights)

    def known(self) -> Array:
        """Which values [T] are not null."""
        if not self.values.null_count:
            return np.ones(len(self.values), bool)
        known: Array = self.values.is_valid().to_numpy(zero_copy_only=False)
        return known


def lists_of(
    array: Any,
    sep: str | None,
    column: str,
    *,
    single: bool,
    nested: bool = False,
    nulls: Sequence[str] = (),
) -> Lists:
    """Several values a row, from a list column or texts with `sep` or brackets.

    Null is an empty list; an empty text among the values is null. With `single` a column of plain
    numbers counts as lists of one; with `nested` the values may be lists again. Raises DataError
    otherwise.
    """
    kind = kind_of(array.type)
    if kind.startswith("lists of lists") and not nested:
        help_text = "for several ids at a step, give the id `pool:`; for a vector, its `width:`"
        raise bad_data(
            "GR704", f"column `{column}` holds {kind}, but one list is needed", help_text
        )
    if kind.startswith("lists of"):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        return Lists(settled(array.flatten(), nulls), offsets_of(lengths))
    if kind == "nothing":
        return Lists(pa.array([], pa.string()), np.zeros(len(array) + 1, np.int64))
    if kind == "text":
        texts = plain(array)
        mask = bracketed(texts)
        if mask is not None and (sep is not None or mask.sum() + texts.null_count == len(texts)):
            inside = lists_of_texts(texts, sep, mask, nested=nested)
            return lists_of(inside, None, column, single=False, nested=nested, nulls=nulls)
        if sep is not None:
            texts = pc.split_pattern(texts, sep)
            return lists_of(texts, None, column, single=False, nulls=nulls)
    if single and kind in ("numbers", "truth values", "times"):
        lengths = array.is_valid().to_numpy(zero_copy_only=False)
        return Lists(array.drop_null(), offsets_of(lengths))
    help_text = ""
    if kind == "text":
        help_text = 'say how the text is split: sep: "|"; or, of one value a row, leave out `pool`'
    elif kind == "maps":
        help_text = "ids with weights: pool: sum, weights: inside"
    raise bad_data("GR711", f"column `{column}` holds {kind}, but lists are needed", help_text)


def values_of(field: Field, array: Any) -> Lists:
    """The values of a pooled feature, nulls left out; with weights where they stand inside."""
    if field.inside and kind_of(array.type) == "maps":
        starts = array.offsets.to_numpy()
        lengths = np.where(array.is_valid().to_numpy(zero_copy_only=False), np.diff(starts), 0)
        index = pa.array(ragged_index(starts[:-1], lengths))
        keys = settled(array.keys.take(index), field.nulls)
        lists = Lists(keys, offsets_of(lengths), array.items.take(index))
    else:
        lists = lists_of(array, field.sep, field.column, single=True, nulls=field.nulls)
        lists = _parted(field, lists) if field.inside else lists
    return lists.only(given_values(field, lists))


def given_values(field: Field, lists: Lists) -> Array:
    """Which values [T] are there: neither null nor what fills up lists."""
    given = lists.known()
    return given if field.pad is None else given & ~_equals(lists.values, field.pad)


def _parted(field: Field, lists: Lists) -> Lists:
    """`17:0.35` is the value 17 of weight 0.35; a value without a weight weighs 1."""
    kind = kind_of(lists.values.type)
    if kind == "structs" and lists.values.type.num_fields == 2:
        keys, weights = (lists.values.field(i) for i in (0, 1))
        return Lists(settled(keys, field.nulls), lists.offsets, weights)
    if kind != "text":
        raise bad_data(
            "GR704",
            f"column `{field.column}` holds lists of {kind}, but weights: inside reads texts like "
            "17:0.35, maps, or lists of pairs",
        )
    texts = plain(lists.values)
    pairs = pc.split_pattern(texts, ":", max_splits=1, reverse=True)
    counts = pc.fill_null(pc.list_value_length(pairs), 1).to_numpy(zero_copy_only=False)
    parts, starts = pairs.flatten(), offsets_of(np.where(texts.is_valid(), counts, 0))[:-1]
    valid = texts.is_valid().to_numpy(zero_copy_only=False)
    keys = parts.take(pa.array(starts, mask=~valid))
    weights = parts.take(pa.array(starts + 1, mask=~valid | (counts < 2)))
    return Lists(settled(keys, field.nulls), lists.offsets, weights)


def _equals(values: Any, value: int | float | str) -> Array:
    """Which values [T] are the one that fills up lists."""
    kind = kind_of(values.type)
    if kind == "truth values":
        values, kind = plain(values).cast(pa.int8()), "numbers"
    if kind == "numbers":
        try:
            number = float(value)
        except ValueError:
            return np.zeros(len(values), bool)
        same = pc.equal(plain(values).cast(pa.float64(), safe=False), number)
    elif kind == "text":
        texts = plain(values)
        # A zero among numbers: 0, 0.0.
        same = pc.equal(canonical_texts(texts), pa.scalar(canonical_text(str(value)), texts.type))
    else:
        return np.zeros(len(values), bool)
    filling: Array = pc.fill_null(same, False).to_numpy(zero_copy_only=False)
    return filling


def steps_of(history: Sequence[tuple[Field, Any]]) -> list[Lists]:
    """The steps of a history's columns: those that are null or filling in every column are none.

    Cut to the longest that is kept. Columns of different length in some row come back as they are.
    """
    every = []
    for field, array in history:
        every.append(
            lists_of(
                array, field.sep, field.column, single=False, nested=field.nested, nulls=field.nulls
            )
        )
    if not every:
        return []
    first = every[0]
    # A column without nulls and filling keeps every step.
    whole = any(
        field.pad is None and not lists.values.null_count
        for (field, _), lists in zip(history, every, strict=True)
    )
    if not whole:
        # Rows in which the columns differ come back as they are, and change no row beside them.
        odd = np.any([lists.lengths != first.lengths for lists in every], axis=0)
        aligned = [np.repeat(~odd, lists.lengths) for lists in every]
        known = [
            given_values(field, lists)[steps]
            for (field, _), lists, steps in zip(history, every, aligned, strict=True)
        ]
        keep = np.any(known, axis=0)
        masks = [~steps for steps in aligned]
        for mask, steps in zip(masks, aligned, strict=True):
            mask[steps] = keep
        every = [lists.only(mask) for lists, mask in zip(every, masks, strict=True)]
    sequence = history[0][0].sequence
    assert sequence is not None
    return [lists.cut(sequence.max_len, sequence.keep) for lists in every]


def ids_of_steps(field: Field, steps: Lists) -> Lists:
    """The ids of every step of a history: values [ids], offsets [T + 1]."""
    lists = lists_of(steps.values, field.feature.sep, field.column, single=True, nulls=field.nulls)
    return lists.only(lists.known())


def rows_of_steps(mask: Array, offsets: Array) -> Array:
    """Rows [B] of which some step [T] is marked."""
    rows = np.zeros(len(offsets) - 1, bool)
    rows[np.searchsorted(offsets, np.flatnonzero(mask), side="right") - 1] = True
    return rows
