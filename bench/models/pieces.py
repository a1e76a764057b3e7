"""What the hand-written models share: perceptrons, two kinds of tables, copying of weights."""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

__all__ = ["SparseTables", "TBETables", "Tables", "copy_dense", "perceptron"]

LR, EPS = 0.02, 1e-10


def perceptron(width: int, hidden: Sequence[int]) -> nn.Sequential:
    """Linear and ReLU for each width of `hidden`."""
    layers: list[nn.Module] = []
    for out in hidden:
        layers += [nn.Linear(width, out), nn.ReLU(inplace=True)]
        width = out
    return nn.Sequential(*layers)


class Tables(nn.Module, ABC):
    """Embedding tables under Adagrad: `forward` looks ids [F, B] up, [B, sum of widths].

    `step` updates them after the backward, where that has not done so.
    """

    first_order = 1
    """Width of a table of first-order weights."""

    @abstractmethod
    def weights(self) -> list[Tensor]:
        """The tables in order."""

    @abstractmethod
    def state(self) -> list[Tensor]:
        """Adagrad's sums."""

    def step(self) -> None:
        """Update what the last backward gave gradients to."""


class SparseTables(Tables):
    """An nn.Embedding with sparse gradients for every feature, and torch's Adagrad."""

    def __init__(self, rows: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        pairs = zip(rows, widths, strict=True)
        self.tables = nn.ModuleList(nn.Embedding(*pair, sparse=True) for pair in pairs)
        self.optimizer = torch.optim.Adagrad(self.tables.parameters(), lr=LR, eps=EPS)

    def forward(self, ids: Tensor) -> Tensor:
        pairs = zip(self.tables, ids.unbind(), strict=True)
        return torch.cat([table(column) for table, column in pairs], dim=1)

    def weights(self) -> list[Tensor]:
        return [table.weight.detach() for table in self.tables]

    def state(self) -> list[Tensor]:
        return [self.optimizer.state[table.weight]["sum"] for table in self.tables]

    def step(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()


class TBETables(Tables):
    """FBGEMM's table batched embeddings with exact Adagrad fused into the backward.

    Widths must be multiples of 4, so first-order tables are wider than they need to be.
    """

    first_order = 4

    def __init__(self, rows: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        warnings.simplefilter("ignore")
        from fbgemm_gpu.split_embedding_configs import EmbOptimType
        from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
        from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
            ComputeDevice,
            SplitTableBatchedEmbeddingBagsCodegen,
        )

        where = (EmbeddingLocation.HOST, ComputeDevice.CPU)
        self.op = SplitTableBatchedEmbeddingBagsCodegen(
            [(*pair, *where) for pair in zip(rows, widths, strict=True)],
            optimizer=EmbOptimType.EXACT_ADAGRAD,
            learning_rate=LR,
            eps=EPS,
        )

    def forward(self, ids: Tensor) -> Tensor:
        found: Tensor = self.op(ids.reshape(-1), torch.arange(ids.numel() + 1))
        return found

    def weights(self) -> list[Tensor]:
        return [weight.detach() for weight in self.op.split_embedding_weights()]

    def state(self) -> list[Tensor]:
        return [found[0] for found in self.op.split_optimizer_states()]


def copy_dense(module: nn.Module, given: Mapping[str, Tensor]) -> None:
    """Copy all dense weights from a generated module's state.

    Its `deep.layers.1.weight` is `deep.2.weight` here: activations count too.
    """
    own = {k: v for k, v in module.named_parameters() if not k.startswith("tables.")}
    for key, values in given.items():
        name = re.sub(r"\.layers\.(\d+)\.", lambda found: f".{2 * int(found[1])}.", key)
        with torch.no_grad():
            own.pop(name).copy_(values)
    if own:
        raise ValueError(f"nothing was copied to {sorted(own)}")
