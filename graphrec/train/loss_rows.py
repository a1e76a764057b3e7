"""The loss of every row, one function for each loss of the table (`graphrec.recipe.loss_table`).

Each takes predictions, labels and the loss's parameters, and gives a float of each row [B].
Weights, spaces, missing labels and the mean are the caller's business (`graphrec.train.losses`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "bce",
    "bce_of_prob",
    "focal",
    "hinge",
    "huber",
    "jrc",
    "softmax",
    "squared_error",
    "ziln",
]


def bce(
    output: Tensor, label: Tensor, label_smoothing: float = 0.0, pos_weight: float = 1.0
) -> Tensor:
    """Binary cross entropy of logits [B] with labels [B] from 0 to 1."""
    target = label * (1 - label_smoothing) + label_smoothing / 2
    factor = None if pos_weight == 1.0 else output.new_tensor(pos_weight)
    return F.binary_cross_entropy_with_logits(output, target, reduction="none", pos_weight=factor)


def bce_of_prob(
    output: Tensor, label: Tensor, label_smoothing: float = 0.0, pos_weight: float = 1.0
) -> Tensor:
    """Binary cross entropy of probabilities [B], kept 1e-7 away from 0 and 1."""
    target = label * (1 - label_smoothing) + label_smoothing / 2
    p = output.clamp(1e-7, 1 - 1e-7)
    return -(pos_weight * target * torch.log(p) + (1 - target) * torch.log1p(-p))


def focal(output: Tensor, label: Tensor, gamma: float = 2.0, alpha: float = 0.5) -> Tensor:
    """Binary cross entropy of logits [B] times a factor without gradient (Lin et al., 2017)."""
    p = torch.sigmoid(output.detach())
    factor = alpha * label * (1 - p) ** gamma + (1 - alpha) * (1 - label) * p**gamma
    return factor * F.binary_cross_entropy_with_logits(output, label, reduction="none")


def softmax(output: Tensor, label: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy of logits [B, C] with classes [B]; -1 is no class, and 0."""
    return F.cross_entropy(
        output, label, ignore_index=-1, label_smoothing=label_smoothing, reduction="none"
    )


def squared_error(output: Tensor, label: Tensor) -> Tensor:
    """(y - label)^2."""
    return (output - label) ** 2


def hinge(output: Tensor, label: Tensor, margin: float = 1.0) -> Tensor:
    """max(0, margin - s x) of logits [B], s = 2 label - 1."""
    return F.relu(margin - (2 * label - 1) * output)


def huber(output: Tensor, label: Tensor, delta: float = 1.0) -> Tensor:
    """e^2 / 2 of values [B] where |e| <= delta, else delta (|e| - delta / 2)."""
    return F.huber_loss(output, label, reduction="none", delta=delta)


def ziln(output: Tensor, label: Tensor) -> Tensor:
    """Negative log likelihood of labels [B] under a zero-inflated lognormal, output [B, 3]."""
    logit, mean, deviation = output[:, 0], output[:, 1], F.softplus(output[:, 2]).clamp(min=1e-4)
    paid = label > 0
    known = torch.where(paid, label, torch.ones_like(label)).log()
    density = deviation.log() + known + 0.5 * ((known - mean) / deviation) ** 2
    density = density + 0.5 * math.log(2 * math.pi)
    whether = F.binary_cross_entropy_with_logits(logit, paid.to(logit.dtype), reduction="none")
    return whether + torch.where(paid, density, torch.zeros_like(density))


def jrc(output: Tensor, label: Tensor, group: Tensor, alpha: float = 0.5) -> Tensor:
    """JRC's loss (Sheng et al., 2023): logits [B, 2], label [B] (-1: left out), group [B] >= 0.

    The rows of a session with the other label meet a row in the logit of *its* class, and so does
    every row of that class: one log-sum-exp for each session and class serves all, in O(B).
    """
    known = label >= 0
    own = label.clamp(min=0)
    z = output.gather(1, own[:, None])[:, 0]
    other = output.gather(1, 1 - own[:, None])[:, 0]
    ce = F.cross_entropy(output, label, ignore_index=-1, reduction="none")
    # Row j enters the groups (its session, the other class) with its logit of that class.
    meets, enters = group * 2 + own, group * 2 + (1 - own)
    count = int(group.max()) * 2 + 2 if group.numel() else 0
    entered = torch.where(known, other, torch.full_like(other, -torch.inf))
    top = torch.full((count,), -torch.inf, dtype=z.dtype, device=z.device)
    top = top.scatter_reduce(0, enters, entered.detach(), "amax")
    present = top.isfinite()
    top = torch.where(present, top, torch.zeros_like(top))
    terms = known * torch.exp(torch.where(known, other - top[enters], torch.zeros_like(other)))
    total = torch.zeros_like(top).index_add(0, enters, terms)
    sums = top + torch.log(torch.where(present, total, torch.ones_like(total)))
    some = present[meets] & known
    gap = torch.where(some, sums[meets] - z, torch.zeros_like(z))
    ge = torch.where(some, F.softplus(gap), torch.zeros_like(z))
    return alpha * ce + (1 - alpha) * ge
