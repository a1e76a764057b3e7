"""HSTU's attention as it is in plain PyTorch elsewhere: dense over padded steps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["dense_attention"]


def dense_attention(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, longest: int) -> Tensor:
    """silu(q k^T / sqrt(D)) v / longest, causal, for q, k, v [T, H, D] with rows of `lengths`.

    Everything is padded to `longest` and every pair computed, then masked: scores are
    [B, H, longest, longest], twice. Zhai et al., Actions Speak Louder than Words, 2024.
    """
    rows = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    place = torch.arange(len(rows)) - torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
    at = rows * longest + place
    padded = [_padded(x, at, len(lengths), longest) for x in (q, k, v)]
    scores = torch.einsum("bnhd,bmhd->bhnm", padded[0], padded[1]) * q.shape[-1] ** -0.5
    weights = F.silu(scores) / longest
    step = torch.arange(longest)
    causal = step.unsqueeze(1) >= step
    real = step < lengths.unsqueeze(1)
    weights = weights * (causal & real.unsqueeze(1)).unsqueeze(1)
    mixed = torch.einsum("bhnm,bmhd->bnhd", weights, padded[2])
    return mixed.flatten(0, 1).index_select(0, at)


def _padded(x: Tensor, at: Tensor, rows: int, longest: int) -> Tensor:
    whole = x.new_zeros(rows * longest, *x.shape[1:]).index_copy(0, at, x)
    return whole.unflatten(0, (rows, longest))
