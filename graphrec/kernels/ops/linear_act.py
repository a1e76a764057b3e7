"""`graphrec::linear_act`: activation(x W^T + b) as one operator, with its gradient.

Name and schema are written into exported programs: keep them.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor

from graphrec.kernels.ops.operator import differentiable, operator
from graphrec.kernels.ops.reference import (
    FROM_INPUT,
    FROM_OUTPUT,
    FUSED,
    check_layer,
    kept_of_layer,
    layer_gradients,
    layer_gradients_like,
    layer_like,
    plain,
    slope,
)
from graphrec.kernels.route import triton_twin

__all__ = ["FROM_INPUT", "FROM_OUTPUT", "FUSED", "linear_act", "linear_act_backward"]


@operator(
    "linear_act",
    check=partial(check_layer, "linear_act"),
    like=lambda x, weight, act, save: layer_like(x, (x.shape[0], weight.shape[0]), act, save),
)
def linear_act(
    x: Tensor, weight: Tensor, bias: Tensor | None, act: str, save: bool
) -> tuple[Tensor, Tensor]:
    """(act(x W^T + b), x W^T + b); the second is empty unless `save` and a gradient would need it.

    x [M, K], weight [N, K], bias [N]; all of one dtype. A gradient through `gelu` or `silu` needs
    `save=True`.
    """
    keep = save and act in FROM_INPUT
    twin = triton_twin("linear_act", x)
    if twin is not None:
        y, z = twin.forward(x, weight, bias, act, keep)
    else:
        y, z = plain(F.linear(x, weight, bias), act, keep)
    return y, z if keep else y.new_empty(0)


@operator("linear_act_backward", like=layer_gradients_like)
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


differentiable(
    linear_act,
    linear_act_backward,
    results=("y", "z"),
    of=("x", "weight", "bias"),
    keeps={"kept": kept_of_layer},
)
