"""`graphrec::linear_scale`: scale * factor * activation(x W^T + b) + skip as one operator.

A mask (x * (W h + b)), a cross layer (x0 * (W x + b) + x) and a gate (x * gamma * sigmoid(W h + b))
are this. Name and schema are written into exported programs: keep them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from graphrec.kernels.ops.operator import differentiable, operator
from graphrec.kernels.ops.reference import (
    FROM_INPUT,
    activate,
    check_layer,
    layer_gradients,
    layer_gradients_like,
    scaled,
    slope,
)
from graphrec.kernels.route import triton_twin

__all__ = ["linear_scale", "linear_scale_backward"]


def _check(
    x: Tensor, weight: Tensor, bias: Tensor | None, factor: Tensor, skip: Tensor | None, act: str
) -> None:
    check_layer("linear_scale", x, weight, bias, act)
    shape = (x.shape[0], weight.shape[0])
    for name, other in (("factor", factor), ("skip", skip)):
        if other is not None and other.shape != shape:
            raise ValueError(f"linear_scale: {name} {tuple(other.shape)}, the result {shape}")


def _type(x: Tensor, factor: Tensor, skip: Tensor | None) -> torch.dtype:
    dtype = torch.promote_types(x.dtype, factor.dtype)
    return dtype if skip is None else torch.promote_types(dtype, skip.dtype)


def _like(
    x: Tensor, weight: Tensor, factor: Tensor, skip: Tensor | None, save: bool
) -> tuple[Tensor, Tensor]:
    shape = (x.shape[0], weight.shape[0])
    y = x.new_empty(shape, dtype=_type(x, factor, skip))
    return y, x.new_empty(shape if save else (0,))


@operator("linear_scale", check=_check, like=_like)
def linear_scale(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    factor: Tensor,
    skip: Tensor | None,
    act: str,
    scale: float,
    save: bool,
) -> tuple[Tensor, Tensor]:
    """(scale * factor * act(x W^T + b) + skip, what a gradient needs or empty without `save`).

    x [M, K], weight [N, K], bias [N] of one dtype, factor and skip [M, N]; the result has the
    widest type of all. Kept is x W^T + b for `gelu` and `silu`, the activation for the others, in
    the type of x. A gradient needs `save=True`.
    """
    twin = triton_twin("linear_scale", x)
    if twin is not None:
        y, kept = twin.forward(
            x, weight, bias, factor, skip, act, scale, save, _type(x, factor, skip)
        )
    else:
        y, kept = scaled(F.linear(x, weight, bias), factor, skip, act, scale)
    return y, kept if save else x.new_empty(0)


@operator(
    "linear_scale_backward",
    like=lambda x, weight, factor, need_x, need_weight, need_bias, need_factor: (
        *layer_gradients_like(x, weight, need_x, need_weight, need_bias),
        factor.new_empty(factor.shape if need_factor else (0,)),
    ),
)
def linear_scale_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    factor: Tensor,
    kept: Tensor,
    act: str,
    scale: float,
    skips_x: bool,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
    need_factor: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight, bias and factor; one that is not needed is empty.

    `grad`, `factor` and `kept` [M, N]. With `skips_x` x was the skip too, and its gradient is the
    sum of both. The gradient of a skip is `grad` itself.
    """
    twin = triton_twin("linear_scale", x)
    if twin is not None:
        dz, factor_grad, bias_grad = twin.backward(
            grad, factor, kept, act, scale, need_bias, need_factor
        )
    else:
        scaled = grad if scale == 1 else grad * scale
        kept = kept.to(grad.dtype)
        a = activate(kept, act) if act in FROM_INPUT else kept
        factor_grad = (scaled * a).to(factor.dtype) if need_factor else factor.new_empty(0)
        dz = slope(scaled * factor, kept, act).to(x.dtype)
        bias_grad = dz.sum(0) if need_bias else dz.new_empty(0)
    added = grad.to(x.dtype) if skips_x else None
    products = layer_gradients(dz, x, weight, need_x, need_weight, added)
    return *products, bias_grad, factor_grad


def _kept(
    kept: Tensor, save: bool, need_x: bool, need_weight: bool, need_bias: bool, need_factor: bool
) -> Tensor:
    if not save and (need_x or need_weight or need_bias or need_factor):
        raise RuntimeError("a gradient through linear_scale needs save=True")
    return kept


differentiable(
    linear_scale,
    linear_scale_backward,
    results=("y", "kept"),
    of=("x", "weight", "bias", "factor"),
    keeps={
        "kept": _kept,
        # Then the GEMM of x's gradient adds the skip's, and no kernel of its own has to.
        "skips_x": lambda x, skip: skip is x,
        "skip_type": lambda skip: None if skip is None else skip.dtype,
    },
    also={
        "skip": lambda grad, skips_x, skip_type: (
            None if skips_x or skip_type is None else grad.to(skip_type)
        )
    },
)
