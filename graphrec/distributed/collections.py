"""The tables of a generated module as torchrec collections, and what a batch reads from them.

A table whose readers all pool alike (a single id is a pool of one) is in the
`EmbeddingBagCollection` of its `Embeddings`. Tables that histories read, that are pooled in several
ways or with weights, are in an `EmbeddingCollection`, which gives one vector for each id; pooling
is then done here.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchrec import (
    EmbeddingBagCollection,
    EmbeddingBagConfig,
    EmbeddingCollection,
    EmbeddingConfig,
    KeyedJaggedTensor,
    PoolingType,
)

from graphrec.nn.batch import Batch, Jagged
from graphrec.nn.embedding import Embeddings
from graphrec.nn.embedding_layout import Group
from graphrec.nn.embedding_reader import Features, jagged
from graphrec.nn.parameter_slice import ParameterSlice
from graphrec.nn.tables import Lookup

__all__ = ["ShardedTable", "TableCollection", "collections_of", "owners"]

_WIDTH = 4
"""FBGEMM's tables have widths that are multiples of this."""


@dataclass(frozen=True)
class ShardedTable:
    """A table in torchrec's hands: `name` there, `owner` and `piece` here.

    `width` is its own, rounded up to what FBGEMM takes; the columns behind `piece.shape[1]` stay 0.
    """

    name: str
    owner: str
    piece: ParameterSlice
    width: int

    @property
    def key(self) -> str:
        """Its key in a checkpoint: `embeddings.item.weight`."""
        return f"{self.owner}.{self.piece.key}"

    @property
    def rows(self) -> int:
        return self.piece.shape[0]

    @property
    def dim(self) -> int:
        return self.piece.shape[1]


@dataclass
class TableCollection:
    """One torchrec collection, for columns of one `Embeddings`; `read` says how each is read."""

    name: str
    owner: str
    pooled: bool
    tables: tuple[ShardedTable, ...]
    lookups: tuple[Lookup, ...]
    table_of: Mapping[str, ShardedTable] = field(init=False)

    def __post_init__(self) -> None:
        by_table = {table.piece.key.removesuffix(".weight"): table for table in self.tables}
        self.table_of = {lookup.column: by_table[lookup.table] for lookup in self.lookups}

    def module(self) -> nn.Module:
        """The collection on the meta device, for a planner or for sharding."""
        columns: dict[str, list[str]] = {}
        for column, table in self.table_of.items():
            columns.setdefault(table.name, []).append(column)
        pools = {self.table_of[c.column].name: c.pool for c in self.lookups if c.pool}
        common: list[dict[str, Any]] = [
            {
                "name": table.name,
                "embedding_dim": table.width,
                "num_embeddings": table.rows,
                "feature_names": columns[table.name],
                "init_fn": _leave,
            }
            for table in self.tables
        ]
        device = torch.device("meta")
        if not self.pooled:
            rows: nn.Module = EmbeddingCollection(
                [EmbeddingConfig(**c) for c in common], device=device
            )
            return rows
        kinds = {None: PoolingType.SUM, "sum": PoolingType.SUM, "mean": PoolingType.MEAN}
        bags: nn.Module = EmbeddingBagCollection(
            [EmbeddingBagConfig(**c, pooling=kinds[pools.get(c["name"])]) for c in common],
            device=device,
        )
        return bags

    def input(self, batch: Batch, stride: int) -> KeyedJaggedTensor:
        """The ids of a batch, column by column; `stride` rows, those it lacks empty.

        All ranks give equally many rows: torchrec's row-wise exchange over gloo can't take others.
        """
        values, lengths = [], []
        for lookup in self.lookups:
            ids, counts = _ids(batch.features, lookup)
            values.append(ids)
            lengths.append(counts)
        counts = torch.stack(lengths)
        missing = stride - counts.shape[1]
        if missing:
            counts = functional.pad(counts, (0, missing))
        return KeyedJaggedTensor(
            [lookup.column for lookup in self.lookups],
            torch.cat(values),
            lengths=counts.view(-1).to(torch.int32),
            stride=stride,
        )

    def outputs(self, read: Any, batch: Batch) -> dict[str, Tensor]:
        """What the collection gave, by column: [B, dim] or, of histories, [steps, dim]."""
        rows = batch.num_rows
        embedded = {}
        for lookup in self.lookups:
            dim = self.table_of[lookup.column].dim
            if self.pooled:
                # By key: a sharded collection orders its columns by rank and sharding.
                embedded[lookup.column] = read[lookup.column][:rows, :dim]
            else:
                values = read[lookup.column].values()[:, :dim]
                embedded[lookup.column] = _bags(
                    values, jagged(batch.features, lookup.column), lookup
                )
        return embedded


def owners(module: nn.Module) -> Iterator[tuple[str, Embeddings]]:
    """The `Embeddings` of a generated module that have tables to be trained, by name."""
    for name, child in module.named_children():
        if isinstance(child, Embeddings) and any(p.trainable for p in child.table_groups):
            yield name, child


def collections_of(
    owner: str,
    lookups: Sequence[Lookup],
    pieces: Sequence[ParameterSlice],
    weighted: Collection[str],
) -> list[TableCollection]:
    """The collections of one `Embeddings`; `weighted` are columns whose values have weights."""
    readers: dict[str, list[Lookup]] = {}
    for lookup in lookups:
        readers.setdefault(lookup.table, []).append(lookup)
    groups: dict[tuple[bool, int], list[ShardedTable]] = {}
    for number, piece in enumerate(pieces):
        own = readers.get(piece.key.removesuffix(".weight"), [])
        if not own:
            continue
        pools = {c.pool for c in own if c.pool}
        pooled = len(pools) < 2 and not any(c.sequence or c.column in weighted for c in own)
        width = math.ceil(piece.shape[1] / _WIDTH) * _WIDTH
        # Names of tables are anybody's: dots and names of torch's own attributes are among them.
        name = f"{owner}/{number}/{piece.key.removesuffix('.weight')}".replace(".", "_")
        table = ShardedTable(name, owner, piece, width)
        groups.setdefault((pooled, 0 if pooled else width), []).append(table)
    collections = []
    for (pooled, width), tables in sorted(groups.items()):
        names = {table.piece.key.removesuffix(".weight") for table in tables}
        columns = tuple(c for c in lookups if c.table in names)
        name = f"{owner}_bags" if pooled else f"{owner}_rows_{width}"
        collections.append(TableCollection(name, owner, pooled, tuple(tables), columns))
    return collections


class Reading:
    """The body of one `Embeddings`: what its collections gave for the batch at hand."""

    def __init__(self) -> None:
        self.columns: dict[str, Tensor] = {}

    def read(self, group: Group) -> Tensor:
        """The columns of the group side by side; one that is alone is handed on as it is."""
        parts = [self.columns[lookup.column] for lookup in group.lookups]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _ids(features: Features, lookup: Lookup) -> tuple[Tensor, Tensor]:
    """Ids of a column, and how many each row has."""
    column = jagged(features, lookup.column)
    values: Any = column.values
    lengths = column.lengths
    if isinstance(values, Jagged):  # several ids a step: those of a row are those of its steps
        ends = functional.pad(values.lengths.cumsum(0), (1, 0))
        steps = functional.pad(lengths.cumsum(0), (1, 0))
        return values.values, ends[steps].diff()
    return values, lengths


def _bags(values: Tensor, column: Jagged, lookup: Lookup) -> Tensor:
    """Rows that were read, pooled where the column asks for it."""
    if lookup.pool is None:
        return values
    inner: Any = column.values
    bags = inner if isinstance(inner, Jagged) else column
    lengths, weights = bags.lengths, bags.weights
    scale = None if weights is None else weights.float()
    if lookup.pool == "mean":
        of = bags.rows()
        if scale is None:
            scale = 1.0 / lengths.float().index_select(0, of)
        else:
            total = scale.new_zeros(len(lengths)).index_add(0, of, scale)
            scale = scale / torch.where(total == 0, 1.0, total).index_select(0, of)
    terms = values if scale is None else values * scale[:, None]
    return terms.new_zeros(len(lengths), terms.shape[1]).index_add(0, bags.rows(), terms)


def _leave(weight: Tensor) -> Tensor:
    """Weights come from the recipe's seed, not from torchrec."""
    return weight
