"""`Batch` and `Jagged`: what the data side hands to a generated module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

__all__ = ["Batch", "Compared", "Jagged"]


@dataclass
class Jagged:
    """Rows of different lengths without padding.

    `values` [T, ...] holds the steps of all rows one after another, `lengths` [B] (int64) how many
    each row has; sum(lengths) == T. `weights` [T] are optional factors for pooling.
    """

    values: Tensor
    lengths: Tensor
    weights: Tensor | None = None

    @property
    def num_rows(self) -> int:
        return self.lengths.shape[0]

    def rows(self) -> Tensor:
        """Row number of every step, [T]; works on the meta device too."""
        lengths = self.lengths.to(self.values.device)
        return torch.repeat_interleave(lengths, output_size=self.values.shape[0])

    def replace(self, values: Tensor) -> Jagged:
        """The same rows with other values (same T)."""
        return Jagged(values, self.lengths, self.weights)

    def __add__(self, other: Any) -> Jagged:
        return self.replace(self.values + _steps(other))

    def __radd__(self, other: Any) -> Jagged:
        return self.replace(_steps(other) + self.values)

    def __sub__(self, other: Any) -> Jagged:
        return self.replace(self.values - _steps(other))

    def __rsub__(self, other: Any) -> Jagged:
        return self.replace(_steps(other) - self.values)

    def __mul__(self, other: Any) -> Jagged:
        return self.replace(self.values * _steps(other))

    def __rmul__(self, other: Any) -> Jagged:
        return self.replace(_steps(other) * self.values)

    def __truediv__(self, other: Any) -> Jagged:
        return self.replace(self.values / _steps(other))

    def __rtruediv__(self, other: Any) -> Jagged:
        return self.replace(_steps(other) / self.values)

    def __neg__(self) -> Jagged:
        return self.replace(-self.values)

    def __gt__(self, other: Any) -> Jagged:
        return self.replace(self.values > _steps(other))

    def __ge__(self, other: Any) -> Jagged:
        return self.replace(self.values >= _steps(other))

    def __lt__(self, other: Any) -> Jagged:
        return self.replace(self.values < _steps(other))

    def __le__(self, other: Any) -> Jagged:
        return self.replace(self.values <= _steps(other))

    def to(self, device: torch.device | str) -> Jagged:
        weights = None if self.weights is None else self.weights.to(device)
        return Jagged(self.values.to(device), self.lengths.to(device), weights)


def _steps(other: Any) -> Any:
    """The other operand, step by step; two histories in one expression are the same one."""
    return other.values if isinstance(other, Jagged) else other


class Encodes(Protocol):
    """What makes batches of raw rows."""

    def encode(self, rows: Any, *, labels: bool = True) -> Batch: ...


@dataclass
class Compared:
    """The distinct items that the rows of a batch are compared with.

    `batch` has their features, N rows; `own` [B] is the place of each row's item among them.
    `shared` [N] tells which are negatives of every row; `log_q` [N] are logarithms of the chance
    that an item is among the shared ones, 0 where chance has no part in it. `hard` and `hidden`
    [M, 2] are pairs (row, item): negatives of that row alone, and items that are none of it.
    """

    batch: Batch
    own: Tensor
    shared: Tensor
    log_q: Tensor
    hard: Tensor
    hidden: Tensor

    @classmethod
    def each_with(cls, items: Batch) -> Compared:
        """As many rows as items, each with its own among all of them."""
        rows = items.num_rows
        pairs = torch.empty(0, 2, dtype=torch.int64)
        shared = torch.ones(rows, dtype=torch.bool)
        return cls(items, torch.arange(rows), shared, torch.zeros(rows), pairs, pairs)

    def to(self, device: torch.device | str) -> Compared:
        tensors = (self.own, self.shared, self.log_q, self.hard, self.hidden)
        return Compared(self.batch.to(device), *(tensor.to(device) for tensor in tensors))


@dataclass
class Batch:
    """One batch. `forward` of a generated module reads `features` only.

    `features`: single ids int64 [B] (table rows), dense float32 [B, width], multi-values and
    sequence columns `Jagged` (a sequence's column is called `<sequence>.<feature>`).
    `labels`, `weights`: per task name, float32 or int64 [B]; a missing label is NaN (int: -1).
    `columns`: raw values for grouped metrics and sessions, by column name.
    `compared`: where a retriever is trained, the items that the rows are compared with.
    """

    features: dict[str, Tensor | Jagged]
    labels: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)
    compared: Compared | None = None

    @property
    def num_rows(self) -> int:
        for value in self.features.values():
            return value.num_rows if isinstance(value, Jagged) else value.shape[0]
        return 0

    def candidates(self) -> Batch:
        """The items that the rows are compared with; ValueError where the batch has none."""
        if self.compared is None:
            raise ValueError(
                "the batch has no items to compare with: encode_query and encode_item give the"
                " vectors of rows and of items"
            )
        return self.compared.batch

    @classmethod
    def from_dict(
        cls, columns: Mapping[str, Any], encoder: Encodes, *, labels: bool = True
    ) -> Batch:
        """The batch of columns by name: lists, arrays or tensors, a list for each row of a history.

        `encoder` is what `graphrec.fit` gives, a run, or a model that has nothing to learn. Without
        `labels` the rows are to be predicted, and columns of features are enough. Raises DataError
        for missing columns and bad cells.
        """
        if not isinstance(columns, Mapping):
            raise TypeError(f"columns by name are a map, got {type(columns).__name__}")
        return encoder.encode(columns, labels=labels)

    @classmethod
    def from_pandas(cls, frame: Any, encoder: Encodes, *, labels: bool = True) -> Batch:
        """The batch of a data frame's rows, NaN being null; the rest is as in `from_dict`."""
        if not hasattr(frame, "iloc"):
            raise TypeError(f"expected a pandas.DataFrame, got {type(frame).__name__}")
        return encoder.encode(frame, labels=labels)

    @classmethod
    def from_arrow(cls, table: Any, encoder: Encodes, *, labels: bool = True) -> Batch:
        """The batch of an Arrow table or record batch; the rest is as in `from_dict`."""
        if not (hasattr(table, "schema") or hasattr(table, "__arrow_c_stream__")):
            raise TypeError(f"expected an Arrow table, got {type(table).__name__}")
        return encoder.encode(table, labels=labels)

    def to(self, device: torch.device | str) -> Batch:
        def move(values: dict[str, Any]) -> dict[str, Any]:
            return {name: value.to(device) for name, value in values.items()}

        compared = None if self.compared is None else self.compared.to(device)
        labels, weights = move(self.labels), move(self.weights)
        return Batch(move(self.features), labels, weights, self.columns, compared)


def _flatten_jagged(jagged: Jagged) -> tuple[list[Any], None]:
    return [jagged.values, jagged.lengths, jagged.weights], None


def _unflatten_jagged(leaves: Any, _: None) -> Jagged:
    return Jagged(*leaves)


def _flatten_batch(batch: Batch) -> tuple[list[Any], Any]:
    return [batch.features, batch.labels, batch.weights], batch.columns


def _unflatten_batch(leaves: Any, columns: Any) -> Batch:
    features, labels, weights = leaves
    return Batch(features, labels, weights, columns)


def _keys_jagged(jagged: Jagged) -> tuple[list[Any], None]:
    names = ("values", "lengths", "weights")
    return [(pytree.GetAttrKey(name), getattr(jagged, name)) for name in names], None


def _keys_batch(batch: Batch) -> tuple[list[Any], Any]:
    names = ("features", "labels", "weights")
    return [(pytree.GetAttrKey(name), getattr(batch, name)) for name in names], batch.columns


pytree.register_pytree_node(
    Jagged,
    _flatten_jagged,
    _unflatten_jagged,
    serialized_type_name="graphrec.nn.Jagged",
    flatten_with_keys_fn=_keys_jagged,
)
pytree.register_pytree_node(
    Batch,
    _flatten_batch,
    _unflatten_batch,
    serialized_type_name="graphrec.nn.Batch",
    flatten_with_keys_fn=_keys_batch,
)
