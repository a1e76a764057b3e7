"""The parts of tables that this rank holds, with the state of their optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchrec.distributed.batched_embedding_kernel import (
    BaseBatchedEmbedding,
    BaseBatchedEmbeddingBag,
    BatchedDenseEmbedding,
    BatchedDenseEmbeddingBag,
)

from graphrec.distributed.collections import ShardedTable
from graphrec.nn.tables import fill, named_generator

__all__ = ["Shard", "draw", "kernels", "shards_of"]

_DENSE = (BatchedDenseEmbedding, BatchedDenseEmbeddingBag)
_CHUNK = 1 << 20  # entries drawn at a time; a multiple of 16
_VECTOR = 16  # torch draws normal numbers in vectors of that many


@dataclass
class Shard:
    """Rows from `row` and columns from `column` of a table; `weight` and `state` are live.

    `state` has the optimizer's slots by name, [rows, columns] or [rows, 1]. A `replica` is a whole
    table that every rank holds.
    """

    table: ShardedTable
    row: int
    column: int
    weight: Tensor
    state: dict[str, Tensor]
    replica: bool
    grad: Tensor | None = None

    @property
    def rows(self) -> int:
        return self.weight.shape[0]

    @property
    def columns(self) -> int:
        """Columns of the shard that are the table's own, not filling."""
        return max(0, min(self.weight.shape[1], self.table.dim - self.column))

    def scale(self, slot: str) -> float:
        """What a slot is multiplied by to be the one of a table of its own width.

        A mean over the columns is smaller by the filling ones, which are always 0.
        """
        mean = slot == "sum" and self.state[slot].shape[1] == 1 and not self.replica
        return self.table.width / self.table.dim if mean else 1.0

    def own(self, values: Tensor) -> Tensor:
        """Without the filling columns."""
        return values if values.shape[1] == 1 else values[:, : self.columns]


def shards_of(
    module: nn.Module, tables: Mapping[str, ShardedTable], slots: tuple[str, ...]
) -> Iterator[Shard]:
    """All parts in a sharded module, their optimizer's state under the names `slots`."""
    for part in kernels(module):
        tbe, replica = part.emb_module, isinstance(part, _DENSE)
        weights = tbe.split_embedding_weights()
        states = [()] * len(weights) if replica else tbe.split_optimizer_states()
        for config, weight, state in zip(
            part.config.embedding_tables, weights, states or [()] * len(weights), strict=True
        ):
            place = config.local_metadata
            row, column = (0, 0) if replica or place is None else place.shard_offsets
            slot_values = {name: _two(values) for name, values in zip(slots, state, strict=False)}
            yield Shard(tables[config.name], row, column, _two(weight), slot_values, replica)


def kernels(module: nn.Module) -> Iterator[BaseBatchedEmbedding[Tensor]]:
    """FBGEMM's operators in a sharded module; torchrec does not register them as its children."""
    for sharded in module.modules():
        for lookup in getattr(sharded, "_lookups", ()):
            for part in lookup.modules():
                if isinstance(part, BaseBatchedEmbedding | BaseBatchedEmbeddingBag):
                    yield part


def _two(values: Tensor) -> Tensor:
    return values.detach() if values.dim() == 2 else values.detach()[:, None]


@torch.no_grad()
def draw(shard: Shard, seed: int) -> None:
    """Fill a shard with the part of the table's first weights that is its own.

    They are those of one process: the table is drawn from its seed in the same order, piece by
    piece, and what belongs to others is thrown away.
    """
    piece = shard.table.piece
    generator = named_generator(seed, piece.key, torch.device("cpu"))
    rows, dim = piece.shape
    shard.weight.zero_()
    last = shard.row + shard.rows
    for start, stop in _pieces(rows, dim):
        if start >= last:
            break
        values = torch.empty(stop - start, dim)
        fill(values, piece.init, generator)
        low, high = max(start, shard.row), min(stop, last)
        if low < high:
            part = values[low - start : high - start, shard.column : shard.column + shard.columns]
            shard.weight[low - shard.row : high - shard.row, : shard.columns] = part.to(
                shard.weight
            )


def _pieces(rows: int, dim: int) -> Iterator[tuple[int, int]]:
    """Cuts of a table so that drawing piece by piece gives the numbers of drawing it at once."""
    step = max(_VECTOR, _CHUNK // dim // _VECTOR * _VECTOR)
    cuts = list(range(0, rows, step))
    if len(cuts) > 1 and (rows - cuts[-1]) * dim < _VECTOR:
        cuts.pop()
    yield from zip(cuts, [*cuts[1:], rows], strict=True)
