"""`graphrec::linear_scale`: scale * factor * activation(x W^T + b) + skip as one operator.

A mask (x * (W h + b)), a cross layer (x0 * (W x + b) + x) and a gate (x * gamma * sigmoid(W h + b))
are this. Name and schema are written into exported programs: keep them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import custom_op

from graphrec.kernels.ops.reference import (
    FROM_INPUT,
    activate,
    check_layer,
    layer_gradients,
    scaled,
    slope,
)
from graphrec.kernels.route import triton_twin

__all__ = ["linear_scale", "linear_scale_backward"]


@custom_op("graphrec::linear_scale", mutates_args=())
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
    _check(x, weight, bias, factor, skip, act)
    twin = triton_twin("linear_scale", x)
    if twin is not None:
        y, kept = twin.forward(
            x, weight, bias, factor, skip, act, scale, save, _type(x, factor, skip)
        )
    else:
        y, kept = scaled(F.linear(x, weight, bias), factor, skip, act, scale)
    return y, kept if save else x.new_empty(0)


@linear_scale.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    factor: Tensor,
    skip: Tensor | None,
    act: str,
    scale: float,
    save: bool,
) -> tuple[Tensor, Tensor]:
    _check(x, weight, bias, factor, skip, act)
    shape = (x.shape[0], weight.shape[0])
    y = x.new_empty(shape, dtype=_type(x, factor, skip))
    return y, x.new_empty(shape if save else (0,))


@custom_op("graphrec::linear_scale_backward", mutates_args=())
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


@linear_scale_backward.register_fake
def _(
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
    return (
        x.new_empty(x.shape if need_x else (0,)),
        weight.new_empty(weight.shape if need_weight else (0,)),
        x.new_empty(weight.shape[:1] if need_bias else (0,)),
        factor.new_empty(factor.shape if need_factor else (0,)),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, _, factor, skip, ctx.act, ctx.scale, save = inputs
    if not save and any(ctx.needs_input_grad[:4]):
        raise RuntimeError("a gradient through linear_scale needs save=True")
    # Then the GEMM of x's gradient adds the skip's, and no kernel of its own has to.
    ctx.skips_x = skip is x and ctx.needs_input_grad[0]
    ctx.skip_type = None if skip is None else skip.dtype
    ctx.save_for_backward(x, weight, factor, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 8
    needs = ctx.needs_input_grad
    grads: tuple[Tensor | None, ...] = (None,) * 4
    if any(needs[:4]):
        grads = linear_scale_backward(
            grad, *ctx.saved_tensors, ctx.act, ctx.scale, ctx.skips_x, *needs[:4]
        )
    wanted = (g if need else None for g, need in zip(grads, needs[:4], strict=True))
    skip_grad = grad.to(ctx.skip_type) if needs[4] and not ctx.skips_x else None
    return *wanted, skip_grad, None, None, None


linear_scale.register_autograd(_backward, setup_context=_setup)


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
