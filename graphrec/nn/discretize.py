"""AutoDis: numbers as mixtures of learned meta embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AutoDiscretization", "soft_buckets"]


def soft_buckets(
    x: Tensor, w: Tensor, m: Tensor, meta: Tensor, skip: float, temperature: float
) -> Tensor:
    """softmax((M h + skip h) / temperature) meta with h = LeakyReLU(w x), for each number.

    x [B, N], w [N, C], m [N, C, C], meta [N, C, D]; [B, N, D]. Guo et al., An Embedding Learning
    Framework for Numerical Features in CTR Prediction, KDD 2021.
    """
    h = F.leaky_relu(x.unsqueeze(-1) * w)
    z = torch.einsum("bni,noi->bno", h, m) + skip * h
    return torch.einsum("bnc,ncd->bnd", torch.softmax(z / temperature, dim=-1), meta)


class AutoDiscretization(nn.Module):
    """A vector for every number: values [B, N] to fields [B, N, dim], see `soft_buckets`.

    Keys `w` [N, channels], `m` [N, channels, channels], `meta` [N, channels, dim].
    """

    def __init__(
        self, num_values: int, dim: int, channels: int, temperature: float = 1.0, skip: float = 0.1
    ) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(num_values, channels))
        self.m = nn.Parameter(torch.empty(num_values, channels, channels))
        self.meta = nn.Parameter(torch.empty(num_values, channels, dim))
        self.temperature, self.skip = temperature, skip
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights: w and m as Linears are drawn, meta embeddings like tables."""
        nn.init.uniform_(self.w, -1.0, 1.0)
        bound = self.w.shape[1] ** -0.5
        nn.init.uniform_(self.m, -bound, bound)
        nn.init.normal_(self.meta, std=0.01)

    def forward(self, values: Tensor) -> Tensor:
        return soft_buckets(values, self.w, self.m, self.meta, self.skip, self.temperature)
