"""Small tables that every rank holds whole: data_parallel, which has no fused optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torchrec.distributed.batched_embedding_kernel import (
    BatchedDenseEmbedding,
    BatchedDenseEmbeddingBag,
)

from graphrec.distributed.shards import Shard, kernels
from graphrec.recipe.training import Optimizer
from graphrec.train.table_optimizers import RowOptimizer

__all__ = ["Replicas"]


@dataclass
class _Replica:
    shard: Shard
    whole: nn.Parameter
    start: int
    optimizer: RowOptimizer
    lr: float


class Replicas:
    """The replicated tables of a sharded module under the optimizer that all tables have.

    DDP sums their gradients; those are dense, but a row that was not read has gradient 0, which
    changes nothing under the optimizers that are allowed here.
    """

    def __init__(
        self,
        module: nn.Module,
        shards: Sequence[Shard],
        settings: Optimizer,
        rates: Mapping[str, float],
    ) -> None:
        wholes = [
            part.emb_module.weights
            for part in kernels(module)
            if isinstance(part, BatchedDenseEmbedding | BatchedDenseEmbeddingBag)
        ]
        self.wholes = wholes
        self._replicas = []
        for shard in shards:
            if shard.replica:
                (whole,) = [w for w in wholes if _holds(w, shard.weight)]
                optimizer = RowOptimizer(shard.weight, settings, "torch")
                shard.state = dict(optimizer.slots)
                start = shard.weight.storage_offset() - whole.storage_offset()
                rate = rates[shard.table.owner]
                self._replicas.append(_Replica(shard, whole, start, optimizer, rate))

    def zero_grad(self) -> None:
        for whole in self.wholes:
            whole.grad = None

    @torch.no_grad()
    def step(self, factor: float, update: int) -> None:
        """Update from the gradients that DDP has summed."""
        for replica in self._replicas:
            if replica.whole.grad is None:
                continue
            weight = replica.shard.weight
            grad = replica.whole.grad.view(-1)[replica.start : replica.start + weight.numel()]
            grad = grad.view(weight.shape)
            rows = grad.any(dim=1).nonzero().view(-1)
            replica.optimizer.update(rows, grad[rows], replica.lr * factor, 0.0, update)


def _holds(whole: nn.Parameter, weight: torch.Tensor) -> bool:
    return whole.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()
