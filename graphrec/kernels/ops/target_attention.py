"""`graphrec::target_attention`: softmax of an MLP's scores over a history, and the weighted sum.

For scorers with one hidden layer, whose weights come split: z = part of the row + s A^T +
(q * s) P^T, score = w . act(z) + b, out = sum of softmax(score) s within a row.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from graphrec.kernels.ops.operator import differentiable, operator
from graphrec.kernels.ops.reference import FROM_INPUT, activate, slope
from graphrec.kernels.ops.steps import (
    check_steps,
    of_steps,
    softmax_sum,
    softmax_sum_gradients,
    step_gradients,
    step_layer,
    wide,
)
from graphrec.kernels.route import triton_twin

__all__ = ["WIDEST", "target_attention", "target_attention_backward"]

WIDEST = 64
"""Width of keys and of the hidden layer that the kernels hold on chip; the reference serves wider
ones."""


@operator(
    "target_attention",
    check=partial(check_steps, "target_attention"),
    like=lambda query, keys: (
        query.new_empty(query.shape, dtype=wide(keys)),
        query.new_empty(query.shape[:1], dtype=wide(keys)),
    ),
)
def target_attention(
    query: Tensor,
    part: Tensor,
    keys: Tensor,
    offsets: Tensor,
    of_keys: Tensor,
    of_product: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    act: str,
) -> tuple[Tensor, Tensor]:
    """(sum of softmax(scores) keys [B, D], log of the sum of exponentials [B]) of each row.

    query [B, D], part [B, H], keys [T, D], offsets [B + 1] int64, of_keys (A) and of_product (P)
    [H, D], out_weight [H], out_bias [1]; all of one type but offsets. Both results are in fp32, or
    fp64 for fp64; a row without steps has zeros.
    """
    twin = _twin("target_attention", keys, part)
    inputs = (query, part, keys, offsets, of_keys, of_product, out_weight, out_bias)
    if twin is not None:
        out, norm = twin.forward(*inputs, act)
    else:
        scores = _scores(*inputs, act)[2]
        out, norm = softmax_sum(scores, keys, offsets)
    return out, norm


@operator(
    "target_attention_backward",
    like=lambda query, part, keys, of_keys, out_weight, need_weights: (
        *(one.new_empty(one.shape) for one in (query, part, keys)),
        *(keys.new_empty(of_keys.shape if need_weights else (0,)) for _ in range(2)),
        out_weight.new_empty(out_weight.shape),
    ),
)
def target_attention_backward(
    grad: Tensor,
    query: Tensor,
    part: Tensor,
    keys: Tensor,
    offsets: Tensor,
    of_keys: Tensor,
    of_product: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    out: Tensor,
    norm: Tensor,
    act: str,
    need_weights: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, part, keys, of_keys, of_product and out_weight.

    Without `need_weights` the fourth and fifth are empty. That of out_bias is zero: a softmax does
    not see it.
    """
    inputs = (query, part, keys, offsets, of_keys, of_product, out_weight, out_bias)
    twin = _twin("target_attention_backward", keys, part)
    none = keys.new_empty(0)
    if twin is not None:
        dq, dpart, dk, dz, dw = twin.backward(grad, *inputs, out, norm, act)
        if not need_weights:
            return dq, dpart, dk, none, none.clone(), dw
        weights = triton_twin("step_linear_backward", keys)
        assert weights is not None
        rows = of_steps(offsets, keys)
        of_s, of_qs = weights.weights(dz[:, : part.shape[1]], query, keys, rows)
        return dq, dpart, dk, of_s, of_qs, dw
    rows = of_steps(offsets, keys)
    z, y, scores = _scores(*inputs, act)
    ds, dk = softmax_sum_gradients(grad, scores, keys, rows, out, norm)
    dw = (ds.unsqueeze(-1) * y).sum(0).to(keys.dtype)
    dy = (ds.unsqueeze(-1) * out_weight).to(keys.dtype)
    dz = slope(dy, z if act in FROM_INPUT else y, act)
    dq, dpart, more, of_s, of_qs = step_gradients(dz, query, keys, rows, of_keys, of_product)
    if not need_weights:
        of_s, of_qs = none, none.clone()
    return dq, dpart, (dk + more).to(keys.dtype), of_s, of_qs, dw


differentiable(
    target_attention,
    target_attention_backward,
    results=("out", "norm"),
    of=("query", "part", "keys", "of_keys", "of_product", "out_weight"),
    needs={"need_weights": ("of_keys", "of_product")},
    # A softmax does not see it.
    also={"out_bias": lambda out_bias: torch.zeros_like(out_bias)},
)


def _twin(op: str, keys: Tensor, part: Tensor) -> ModuleType | None:
    return triton_twin(op, keys) if max(keys.shape[1], part.shape[1]) <= WIDEST else None


def _scores(
    query: Tensor,
    part: Tensor,
    keys: Tensor,
    offsets: Tensor,
    of_keys: Tensor,
    of_product: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    act: str,
) -> tuple[Tensor, Tensor, Tensor]:
    z = step_layer(query, part, keys, of_steps(offsets, keys), of_keys, of_product)
    y = activate(z, act)
    return z, y, (y @ out_weight + out_bias).to(wide(keys))
