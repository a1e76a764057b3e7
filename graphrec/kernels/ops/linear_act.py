"""`graphrec::linear_act`: activation(x W^T + b) as one operator, with its gradient.

A custom_op and not a triton_op: torch.compile decomposes the latter to Triton on every device,
which fails on a machine without a GPU. Name and schema are written into exported programs: keep
them.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.library import custom_op

from graphrec.kernels.ops.reference import (
    FROM_INPUT,
    FROM_OUTPUT,
    FUSED,
    check_layer,
    layer_gradients,
    plain,
    slope,
)
from graphrec.kernels.route import triton_twin

__all__ = ["FROM_INPUT", "FROM_OUTPUT", "FUSED", "linear_act", "linear_act_backward"]


@custom_op("graphrec::linear_act", mutates_args=())
def linear_act(
    x: Tensor, weight: Tensor, bias: Tensor | None, act: str, save: bool
) -> tuple[Tensor, Tensor]:
    """(act(x W^T + b), x W^T + b); the second is empty unless `save` and a gradient would need it.

    x [M, K], weight [N, K], bias [N]; all of one dtype. A gradient through `gelu` or `silu` needs
    `save=True`.
    """
    check_layer("linear_act", x, weight, bias, act)
    keep = save and act in FROM_INPUT
    twin = triton_twin("linear_act", x)
    if twin is not None:
        y, z = twin.forward(x, weight, bias, act, keep)
    else:
        y, z = plain(F.linear(x, weight, bias), act, keep)
    return y, z if keep else y.new_empty(0)


@linear_act.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, act: str, save: bool
) -> tuple[Tensor, Tensor]:
    check_layer("linear_act", x, weight, bias, act)
    shape = (x.shape[0], weight.shape[0])
    return x.new_empty(shape), x.new_empty(shape if save and act in FROM_INPUT else (0,))


@custom_op("graphrec::linear_act_backward", mutates_args=())
def linear_act_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    kept: Tensor,
    act: str,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x [M, K], weight [N, K] and bias [N]; one that is not needed is empty.

    `kept` [M, N] is the output for FROM_OUTPUT, the input of the activation for FROM_INPUT, and not
    read for `none`.
    """
    twin = triton_twin("linear_act", x)
    if twin is not None:
        dz, bias_grad = twin.backward(grad, kept, act, need_bias)
    else:
        dz = slope(grad, kept, act)
        bias_grad = dz.sum(0) if need_bias else dz.new_empty(0)
    return *layer_gradients(dz, x, weight, need_x, need_weight), bias_grad


@linear_act_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    kept: Tensor,
    act: str,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        x.new_empty(x.shape if need_x else (0,)),
        weight.new_empty(weight.shape if need_weight else (0,)),
        x.new_empty(weight.shape[:1] if need_bias else (0,)),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, bias, ctx.act, save = inputs
    if ctx.act in FROM_INPUT and not save and any(ctx.needs_input_grad):
        raise RuntimeError(f"a gradient through `{ctx.act}` needs save=True")
    y, z = output
    ctx.save_for_backward(x, weight, y if ctx.act in FROM_OUTPUT else z)
    ctx.mark_non_differentiable(z)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return None, None, None, None, None
    needs = ctx.needs_input_grad[:3]
    grads = linear_act_backward(grad, *ctx.saved_tensors, ctx.act, *needs)
    return *(g if need else None for g, need in zip(grads, needs, strict=True)), None, None


linear_act.register_autograd(_backward, setup_context=_setup)
