"""Losses of rows that are ranked within a list: a value for each row, averaged by its weight.

With weights w and values l the caller computes sum(w l) / sum(w). What a pair or a list counts is
settled here: each value is multiplied by sum(w) over the sum of what counts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["listwise", "pairwise"]


def pairwise(
    output: Tensor, label: Tensor, group: Tensor, weight: Tensor, margin: float = 0.0
) -> Tensor:
    """softplus(margin - (x_i - x_j)) of pairs of a group with label_i > label_j, at row i [B].

    output, label, weight [B], group [B] >= 0. Memory grows with the pairs within groups.
    """
    first, second = _pairs(group)
    kept = label[first] > label[second]
    first, second = first[kept], second[kept]
    cost = F.softplus(margin - (output[first] - output[second]))
    # The caller multiplies by w_i; the other row's weight and the mean over pairs are ours.
    beside = weight[second]
    mass = (weight[first] * beside).sum()
    values = torch.zeros_like(output).index_add(0, first, (cost * beside).to(output.dtype))
    return values * _ratio(weight.sum(), mass)


def listwise(
    output: Tensor, label: Tensor, group: Tensor, weight: Tensor, temperature: float = 1.0
) -> Tensor:
    """-t_i log softmax(x / temperature)_i within a group, t the labels over their sum, [B].

    output, weight [B], label [B] >= 0, group [B] >= 0. Groups without a label above 0 count for
    nothing, rows of weight 0 are in no group.
    """
    there = weight > 0
    count = int(group.max()) + 1 if group.numel() else 0
    logits = output / temperature
    held = torch.where(there, logits, torch.full_like(logits, -torch.inf))
    top = torch.full((count,), -torch.inf, dtype=logits.dtype, device=logits.device)
    top = top.scatter_reduce(0, group, held.detach(), "amax")
    shifted = torch.where(there, logits - top[group], torch.zeros_like(logits))
    terms = torch.exp(shifted) * there
    total = torch.zeros_like(top).index_add(0, group, terms)
    log_share = shifted - torch.log(torch.where(there, total[group], torch.ones_like(logits)))
    target = torch.where(there, label.clamp(min=0), torch.zeros_like(label)).to(logits.dtype)
    sums = torch.zeros_like(top).index_add(0, group, target)
    # A list counts by the mean weight of what is wanted of it: 1 without weights.
    share = target * _ratio(torch.ones_like(sums), sums)[group]
    mass = (share * weight).sum()
    return -share * log_share * _ratio(weight.sum(), mass)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below, 0 where there is nothing below."""
    some = below != 0
    return torch.where(some, above / torch.where(some, below, torch.ones_like(below)), 0.0)


def _pairs(group: Tensor) -> tuple[Tensor, Tensor]:
    """All ordered pairs (i, j) of rows of one group, i = j among them; two tensors [pairs]."""
    order = torch.argsort(group, stable=True)
    _, counts = torch.unique_consecutive(group[order], return_counts=True)
    ends = counts.cumsum(0)
    size = torch.repeat_interleave(counts, counts)
    start = torch.repeat_interleave(ends - counts, counts)
    first = torch.repeat_interleave(torch.arange(len(group), device=group.device), size)
    before = torch.repeat_interleave(size.cumsum(0) - size, size)
    place = torch.arange(len(first), device=group.device) - before
    return order[first], order[start[first] + place]
