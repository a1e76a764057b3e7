"""`graphrec::jagged_softmax_sum`: softmax of scores within rows and the weighted sum of values.

One pass over scores and values in each direction. Rows are given by `offsets` [B + 1]: row b has
the steps offsets[b] to offsets[b + 1] - 1, and the last offset is the number of steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphrec.kernels.ops.operator import differentiable, operator
from graphrec.kernels.ops.steps import of_steps, softmax_sum, softmax_sum_gradients, wide
from graphrec.kernels.route import triton_twin

__all__ = ["jagged_softmax_sum", "jagged_softmax_sum_backward"]


def _check(scores: Tensor, values: Tensor, offsets: Tensor) -> None:
    if values.dim() != 2 or scores.shape != values.shape[:1]:
        raise ValueError(f"scores {tuple(scores.shape)} and values {tuple(values.shape)}")
    if offsets.dim() != 1 or offsets.shape[0] < 1 or offsets.dtype != torch.int64:
        raise ValueError(f"offsets {tuple(offsets.shape)} {offsets.dtype}: needs int64 [B + 1]")


@operator(
    "jagged_softmax_sum",
    check=_check,
    like=lambda values, offsets: (
        values.new_empty(offsets.shape[0] - 1, values.shape[1], dtype=wide(values)),
        values.new_empty(offsets.shape[0] - 1, dtype=wide(values)),
    ),
)
def jagged_softmax_sum(scores: Tensor, values: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """(sum of softmax(scores) values [B, D], log of the sum of exponentials [B]) of each row.

    scores [T], values [T, D], offsets [B + 1] int64. Both results are in fp32, or fp64 for fp64; a
    row without steps has zeros. The second is for the gradient.
    """
    twin = triton_twin("segments", values)
    if twin is not None:
        out, norm = twin.forward(scores, values, offsets)
    else:
        out, norm = softmax_sum(scores, values, offsets)
    return out, norm


@operator(
    "jagged_softmax_sum_backward",
    like=lambda scores, values: (scores.new_empty(scores.shape), values.new_empty(values.shape)),
)
def jagged_softmax_sum_backward(
    grad: Tensor, scores: Tensor, values: Tensor, offsets: Tensor, out: Tensor, norm: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of scores [T] and values [T, D]."""
    twin = triton_twin("segments", values)
    if twin is not None:
        scores_grad, values_grad = twin.backward(grad, scores, values, offsets, out, norm)
    else:
        rows = of_steps(offsets, values)
        scores_grad, values_grad = softmax_sum_gradients(grad, scores, values, rows, out, norm)
    return scores_grad.to(scores.dtype), values_grad.to(values.dtype)


differentiable(
    jagged_softmax_sum,
    jagged_softmax_sum_backward,
    results=("out", "norm"),
    of=("scores", "values"),
)
