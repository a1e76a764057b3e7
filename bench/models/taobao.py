"""What the hand-written multi-task models share: one table a feature, two tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from bench.models.pieces import Tables, copy_dense

__all__ = ["WIDTH", "MultiTask"]

WIDTH = 16


class MultiTask(nn.Module, ABC):
    """Logits of both tasks, [B] each, from ids [F, B]; a subclass has `dense`."""

    outputs = ("logits_ctr", "logits_cvr")

    def __init__(self, rows: Mapping[str, int], numbers: Sequence[str], tables: type[Tables]):
        super().__init__()
        assert not numbers
        self.ids = list(rows)
        self.tables = tables([*rows.values()], [WIDTH] * len(rows))

    def forward(self, ids: Tensor, numbers: Tensor) -> tuple[Tensor, ...]:
        return tuple(logits.squeeze(-1) for logits in self.dense(self.tables(ids)))

    @abstractmethod
    def dense(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits [B, 1] of the tasks from all embeddings."""

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of the generated module."""
        dense = dict(state)
        for mine, name in zip(self.tables.weights(), self.ids, strict=True):
            mine.copy_(dense.pop(f"embeddings.{name}.weight"))
        copy_dense(self, dense)
