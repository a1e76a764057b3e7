"""Norms and dropout as layers of their own, for vectors, fields and histories."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.nn.activations import BatchNorm
from graphrec.nn.batch import Jagged

__all__ = ["BatchNormalization", "DropoutLayer", "LayerNormalization"]


class LayerNormalization(nn.LayerNorm):
    """Layer norm over the last axis, of a history step by step (Ba et al., 2016)."""

    def forward(self, x: Tensor | Jagged) -> Tensor | Jagged:  # type: ignore[override]
        if isinstance(x, Jagged):
            return x.replace(super().forward(x.values))
        return super().forward(x)


class BatchNormalization(BatchNorm):
    """Batch norm over the last axis; every row and step counts (Ioffe and Szegedy, 2015)."""

    def forward(self, x: Tensor | Jagged) -> Tensor | Jagged:  # type: ignore[override]
        if isinstance(x, Jagged):
            return x.replace(super().forward(x.values))
        return super().forward(x)


class DropoutLayer(nn.Module):
    """In training each number is 0 with probability `rate`, the others 1 / (1 - rate) times."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor | Jagged) -> Tensor | Jagged:
        if isinstance(x, Jagged):
            return x.replace(F.dropout(x.values, self.rate, self.training))
        return F.dropout(x, self.rate, self.training)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"
