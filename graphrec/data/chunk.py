"""Encoded rows, compact: what waits in the shuffle buffer, and how a `Batch` is cut out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from graphrec.nn.batch import Batch

__all__ = ["NULL_KEY", "Array", "Chunk", "Ragged", "offsets_of", "ragged_index"]

Array = npt.NDArray[Any]

NULL_KEY = np.iinfo(np.int64).min
"""Stands for null in the grouping columns of a batch (`Batch.columns`)."""


@dataclass
class Ragged:
    """Rows of different lengths: `values` [T, ...], `offsets` [B + 1], `weights` [T] or None.

    The columns of one sequence hold the same `offsets` object, so that work on them is done once.
    Where every step of a history has several ids, `values` are the steps, Ragged themselves.
    """

    values: Array | Ragged
    offsets: Array
    weights: Array | None = None


@dataclass
class Chunk:
    """Encoded rows; ids are table rows, int32 where the table allows."""

    num_rows: int
    features: dict[str, Array | Ragged]
    labels: dict[str, Array] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)
    columns: dict[str, Array] = field(default_factory=dict)

    def take(self, index: Array) -> Chunk:
        """The rows at `index`, in that order."""
        ragged = _Picker(index)
        return Chunk(
            len(index),
            {
                name: ragged.take(v) if isinstance(v, Ragged) else v.take(index, axis=0)
                for name, v in self.features.items()
            },
            *({n: v.take(index, axis=0) for n, v in part.items()} for part in self._flat()),
        )

    def slice(self, start: int, stop: int) -> Chunk:
        """Rows start..stop, views where possible."""
        offsets: dict[int, Array] = {}

        def cut(value: Array | Ragged, start: int, stop: int) -> Array | Ragged:
            if not isinstance(value, Ragged):
                return value[start:stop]
            first, last = int(value.offsets[start]), int(value.offsets[stop])
            new = offsets.setdefault(id(value.offsets), value.offsets[start : stop + 1] - first)
            weights = None if value.weights is None else value.weights[first:last]
            return Ragged(cut(value.values, first, last), new, weights)

        return Chunk(
            stop - start,
            {name: cut(value, start, stop) for name, value in self.features.items()},
            *({n: v[start:stop] for n, v in part.items()} for part in self._flat()),
        )

    @staticmethod
    def concat(chunks: Sequence[Chunk]) -> Chunk:
        """All rows of the chunks, one after another."""
        if len(chunks) == 1:
            return chunks[0]
        first = chunks[0]
        offsets: dict[int, Array] = {}

        def join(values: list[Any]) -> Array | Ragged:
            if not isinstance(values[0], Ragged):
                return np.concatenate(values)
            key = id(values[0].offsets)
            if key not in offsets:
                offsets[key] = offsets_of(np.concatenate([np.diff(v.offsets) for v in values]))
            weights = None if values[0].weights is None else [v.weights for v in values]
            joined = None if weights is None else np.concatenate(weights)
            return Ragged(join([v.values for v in values]), offsets[key], joined)

        parts = zip(*(chunk._flat() for chunk in chunks), strict=True)
        return Chunk(
            sum(chunk.num_rows for chunk in chunks),
            {n: join([chunk.features[n] for chunk in chunks]) for n in first.features},
            *({n: np.concatenate([p[n] for p in part]) for n in part[0]} for part in parts),
        )

    def batch(self) -> Batch:
        """The rows as tensors: ids int64, numbers float32."""
        import torch

        from graphrec.nn.batch import Batch, Jagged

        def tensor(array: Array) -> torch.Tensor:
            wanted = np.int64 if array.dtype.kind == "i" else np.float32
            array = np.ascontiguousarray(array, wanted)
            return torch.from_numpy(array if array.flags.writeable else array.copy())

        def feature(value: Array | Ragged) -> torch.Tensor | Jagged:
            if not isinstance(value, Ragged):
                return tensor(value)
            if id(value.offsets) not in lengths:
                lengths[id(value.offsets)] = tensor(np.diff(value.offsets))
            weights = None if value.weights is None else tensor(value.weights)
            # of several ids a step the values are Jagged themselves
            values = cast(torch.Tensor, feature(value.values))
            return Jagged(values, lengths[id(value.offsets)], weights)

        lengths: dict[int, torch.Tensor] = {}
        return Batch(
            {name: feature(value) for name, value in self.features.items()},
            {name: tensor(value) for name, value in self.labels.items()},
            {name: tensor(value) for name, value in self.weights.items()},
            dict(self.columns),
        )

    def _flat(self) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
        return self.labels, self.weights, self.columns


class _Picker:
    """Takes rows of ragged columns; what depends on the offsets alone is computed once."""

    def __init__(self, index: Array) -> None:
        self.index = index
        self.known: dict[int, tuple[Array, Array]] = {}

    def take(self, value: Ragged) -> Ragged:
        key = id(value.offsets)
        if key not in self.known:
            starts = value.offsets.take(self.index)
            lengths = value.offsets.take(self.index + 1) - starts
            self.known[key] = (ragged_index(starts, lengths), offsets_of(lengths))
        steps, offsets = self.known[key]
        weights = None if value.weights is None else value.weights.take(steps)
        if isinstance(value.values, Ragged):
            return Ragged(_Picker(steps).take(value.values), offsets, weights)
        return Ragged(value.values.take(steps, axis=0), offsets, weights)


def offsets_of(lengths: Array) -> Array:
    """Offsets [B + 1] of rows with these lengths [B].

    >>> offsets_of(np.array([2, 0, 1]))
    array([0, 2, 2, 3])
    """
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def ragged_index(starts: Array, lengths: Array) -> Array:
    """Positions of the steps of rows that begin at `starts` and have `lengths` steps.

    >>> ragged_index(np.array([5, 0]), np.array([2, 3]))
    array([5, 6, 0, 1, 2])
    """
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    index: Array = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return index
