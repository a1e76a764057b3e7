"""Mean binary cross entropy of a batch whose rows all count alike, and its gradient.

`graphrec.train.losses` weighs rows one by one. Most tasks have neither weights nor a space, and
most batches a label in every row: then the loss is a plain mean. At small batches a step is made of
some hundred operations that take microseconds each, whatever they work on, and those of a weighted
loss were a tenth of them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["every_row_counts", "mean_bce"]


def every_row_counts(label: Tensor) -> bool:
    """Whether no label [B] of floats is missing (NaN) or infinite; one number is read."""
    # A sum of labels from 0 to 1 is finite unless one of them is not.
    return math.isfinite(float(label.sum()))


def mean_bce(logits: Tensor, label: Tensor, weight: float) -> Tensor:
    """`weight` times the mean over rows of the binary cross entropy of logits [B]; a number."""
    mean: Tensor = _MeanBce.apply(logits, label, weight)  # type: ignore[no-untyped-call]
    return mean


class _MeanBce(torch.autograd.Function):
    """The gradient of row i is weight (sigmoid(z_i) - y_i) / B."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, label: Tensor, weight: float) -> Tensor:
        ctx.save_for_backward(logits, label)
        ctx.weight = weight
        total = F.binary_cross_entropy_with_logits(logits, label, reduction="sum")
        return total.mul_(weight / len(label))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        logits, label = ctx.saved_tensors
        scale = grad * (ctx.weight / len(label))
        return torch.sigmoid(logits).sub_(label).mul_(scale), None, None
