"""Whether two encoders make the same of a row: what one model's batches are for another."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from graphrec.data.encoder import Encoder
from graphrec.data.plan import Cross, Field

__all__ = ["encoding_differences"]

_OF_THE_MODEL = {"autodis", "dim", "dtype", "group", "init", "share", "side", "trainable", "vocab"}
"""Settings of a feature that its batches do not show; vocabularies are compared themselves."""


def encoding_differences(ours: Encoder, theirs: Encoder, keys: Collection[str]) -> list[str]:
    """What is read otherwise by `ours` of the entries that `theirs` has under these keys."""
    different = []
    our_fields = {field.key: field for field in ours.plan.fields}
    our_crosses = {cross.key: cross for cross in ours.plan.crosses}
    for field in theirs.plan.fields:
        if field.key in keys:
            different += _fields_differ(ours, our_fields.get(field.key), theirs, field)
    for cross in theirs.plan.crosses:
        if cross.key in keys and not _same_cross(our_crosses.get(cross.key), cross):
            different.append(f"cross `{cross.key}`")
    return different


def _fields_differ(ours: Encoder, own: Field | None, theirs: Encoder, field: Field) -> list[str]:
    if own is None:
        return [f"feature `{field.key}` is not there"]
    if _read(own) != _read(field):
        return [f"the settings of feature `{field.key}`"]
    if field.table is not None and not _same_rows(ours, own.table or "", theirs, field.table):
        return [f"the vocabulary of feature `{field.key}`"]
    mine, its = ours.learned, theirs.learned
    for kind, first, second in (
        ("edges", mine.edges.get(own.stats), its.edges.get(field.stats)),
        ("statistics", mine.scales.get(own.stats), its.scales.get(field.stats)),
    ):
        if not _same_numbers(first, second):
            return [f"the {kind} of feature `{field.key}`"]
    return []


def _read(field: Field) -> tuple[Any, ...]:
    settings = field.feature.model_dump(exclude=_OF_THE_MODEL)
    sequence = field.sequence
    steps = (
        None if sequence is None else sequence.model_dump(exclude={"of", "columns", *_OF_THE_MODEL})
    )
    return field.column, field.form, field.sep, field.nulls, settings, steps


def _same_rows(ours: Encoder, own: str, theirs: Encoder, table: str) -> bool:
    first, second = ours.learned.vocabularies.get(own), theirs.learned.vocabularies.get(table)
    if first is None and second is None:
        return ours.rows[own] == theirs.rows[table]
    return first is not None and second is not None and bool(first.equals(second))


def _same_numbers(first: Any, second: Any) -> bool:
    if first is None or second is None:
        return first is second
    if isinstance(first, tuple):
        return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    return bool(np.array_equal(first, second))


def _same_cross(own: Cross | None, cross: Cross) -> bool:
    if own is None or own.rows != cross.rows:
        return False
    return [_read(part) for part in own.parts] == [_read(part) for part in cross.parts]
