"""Scores in bins: the thresholds between them, and how much of both outcomes is in each."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["binned", "thresholds"]


def thresholds(bins: int, logits: bool = False) -> Tensor:
    """Even steps of probability from 0 to 1; for logits the same, and more beyond the outermost.

    There, where a model that is sure has all its rows, steps grow by a hundredth, up to 20,000.
    """
    if not logits:
        return torch.linspace(0, 1, bins)
    inner: Tensor = torch.logit(torch.linspace(0, 1, bins, dtype=torch.float64)[1:-1])
    outer = torch.logspace(0, 999, 1000, base=1.01, dtype=torch.float64) - 1
    first, last = (inner[0], inner[-1]) if len(inner) else (torch.zeros(()), torch.zeros(()))
    edges = torch.cat([first - outer, inner[1:-1], last + outer])
    return edges.sort().values


def binned(score: Tensor, target: Tensor, edges: Tensor, mass: Tensor | None = None) -> Tensor:
    """Negative and positive weight [2, bins] by the last threshold each score reaches."""
    bins = len(edges)
    # A class's column of probabilities [B, C] is not contiguous, and searchsorted warns of that.
    score = score.detach().to(edges.dtype).contiguous()
    at = (torch.searchsorted(edges, score, right=True) - 1).clamp(0, bins - 1)
    positive = target.double().clamp(0, 1)
    sides = [1 - positive, positive]
    counts = [torch.bincount(at, s if mass is None else s * mass, minlength=bins) for s in sides]
    return torch.stack(counts)
