"""The sum of the products of all pairs of fields, with its gradient, each in one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from graphrec.nn.native.passes import Passes, passes

__all__ = ["PairSum", "pairs"]


class PairSum(torch.autograd.Function):
    """`FM` and its gradient (sum x - x) times what comes in, each in one pass over the fields."""

    @staticmethod
    def forward(ctx: Any, fields: Tensor) -> Tensor:
        fused = _passes_for(fields)
        if fused is None:
            total = fields.sum(1)
            pair_sum = pairs(fields, total)
        else:
            pair_sum, total = fused.pairs(fields)
        ctx.save_for_backward(fields, total)
        return pair_sum

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        fields, total = ctx.saved_tensors
        fused = _passes_for(fields)
        if fused is None:
            return torch.sub(total.unsqueeze(1), fields).mul_(grad.unsqueeze(1))
        return fused.pairs_backward(fields, total, grad.contiguous())


def _passes_for(fields: Tensor) -> Passes | None:
    """The compiled passes where they know such fields: float32 on a CPU, [N, D] without gaps."""
    known = (
        type(fields) in (Tensor, nn.Parameter)
        and fields.device.type == "cpu"
        and fields.dtype == torch.float32
        and fields.dim() == 3
        and fields.stride()[1:] == (fields.shape[2], 1)
    )
    return passes() if known else None


def pairs(fields: Tensor, total: Tensor) -> Tensor:
    return 0.5 * (total.square() - fields.square().sum(1))
