"""Losses over pairs of vectors that are computed inside the model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["InfoNCE"]

_SHORTEST = 1e-6
"""Vectors shorter than this are divided by it: a zero vector has no direction to be given."""


class InfoNCE(nn.Module):
    """weight * mean over rows of -log softmax_j(cos(a_i, b_j) / temperature) at j = i; a number.

    a, b: [B, D]. The other rows of the batch are the negatives of a row, so B^2 numbers are held;
    without rows, and with one, the loss is 0. van den Oord et al., Representation Learning with
    Contrastive Predictive Coding, 2018.
    """

    def __init__(self, temperature: float = 0.1, weight: float = 1.0) -> None:
        super().__init__()
        self.temperature, self.weight = temperature, weight

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        rows = a.shape[0]
        a, b = (F.normalize(x, dim=-1, eps=_SHORTEST) for x in (a, b))
        own = torch.arange(rows, device=a.device)
        total = F.cross_entropy(a @ b.t() / self.temperature, own, reduction="sum")
        return total * self.weight / max(rows, 1)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, weight={self.weight}"
