"""`graphrec::linear_norm_act`: activation(LayerNorm(x W^T + b)) as one operator, with its gradient.

The backward reads z = x W^T + b and nothing else of the forward: it holds a whole row anyway, so
mean, deviation, normalised row and activation are a few operations in registers, where storing
them would be traffic. z rather than the normalised row, because in the wide case the GEMM has
written z already. Name and schema are written into exported programs: keep them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from graphrec.kernels.ops.operator import differentiable, operator
from graphrec.kernels.ops.reference import (
    FROM_INPUT,
    activate_in_place,
    check_layer,
    layer_gradients,
    layer_gradients_like,
    slope,
)
from graphrec.kernels.route import triton_twin

__all__ = ["WIDEST", "linear_norm_act", "linear_norm_act_backward"]

WIDEST = 4096
"""The widest row that one program of the Triton kernels holds; wider ones are a ValueError."""


def _check(
    x: Tensor, weight: Tensor, bias: Tensor | None, gamma: Tensor, beta: Tensor, act: str
) -> None:
    check_layer("linear_norm_act", x, weight, bias, act)
    width = weight.shape[:1]
    if gamma.shape != width or beta.shape != width or gamma.dtype != beta.dtype:
        raise ValueError(
            f"linear_norm_act: gamma {tuple(gamma.shape)} and beta {tuple(beta.shape)},"
            f" weight {tuple(weight.shape)}"
        )
    if width[0] > WIDEST:
        raise ValueError(f"linear_norm_act: rows of {width[0]} are wider than {WIDEST}")


@operator(
    "linear_norm_act",
    check=_check,
    like=lambda x, weight, save: (
        x.new_empty(x.shape[0], weight.shape[0]),
        x.new_empty((x.shape[0], weight.shape[0]) if save else (0,)),
    ),
)
def linear_norm_act(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    act: str,
    save: bool,
) -> tuple[Tensor, Tensor]:
    """(act(gamma * norm(z) + beta), z) for z = x W^T + b; z is empty unless `save`.

    x [M, K], weight [N, K], bias [N] of one dtype; gamma and beta [N] may be of another. A gradient
    needs `save=True`.
    """
    twin = triton_twin("linear_norm_act", x)
    if twin is not None:
        y, z = twin.forward(x, weight, bias, gamma, beta, eps, act, save)
    else:
        z = F.linear(x, weight, bias)
        y = activate_in_place(_norm(z, gamma, beta, eps)[0], act).to(x.dtype)
    return y, z if save else y.new_empty(0)


@operator(
    "linear_norm_act_backward",
    like=lambda x, weight, gamma, beta, need_x, need_weight, need_bias, need_norm: (
        *layer_gradients_like(x, weight, need_x, need_weight, need_bias),
        *(one.new_empty(one.shape if need_norm else (0,)) for one in (gamma, beta)),
    ),
)
def linear_norm_act_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    z: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    act: str,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
    need_norm: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight, bias, gamma and beta; one that is not needed is empty.

    `grad` and `z` [M, N]; the last flag speaks for gamma and beta together.
    """
    twin = triton_twin("linear_norm_act", x)
    if twin is not None:
        dz, *sums = twin.backward(grad, z, gamma, beta, eps, act, need_bias, need_norm)
    else:
        dz, *sums = _backward_in_torch(grad, z, gamma, beta, eps, act, need_bias, need_norm)
    x_grad, weight_grad = layer_gradients(dz, x, weight, need_x, need_weight)
    bias_grad, gamma_grad, beta_grad = sums
    return x_grad, weight_grad, bias_grad, gamma_grad, beta_grad


def _kept(z: Tensor, save: bool) -> Tensor:
    if not save:
        raise RuntimeError("a gradient through a layer norm needs save=True")
    return z


differentiable(
    linear_norm_act,
    linear_norm_act_backward,
    results=("y", "z"),
    of=("x", "weight", "bias", "gamma", "beta"),
    keeps={"z": _kept},
    needs={"need_norm": ("gamma", "beta")},
)


def _norm(z: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(normalised and scaled, mean, 1 / deviation), in fp32 at least."""
    wide = torch.promote_types(z.dtype, torch.float32)
    y, mean, inverse = torch.native_layer_norm(
        z.to(wide), [z.shape[1]], gamma.to(wide), beta.to(wide), eps
    )
    return y, mean, inverse


def _backward_in_torch(
    grad: Tensor,
    z: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    act: str,
    need_bias: bool,
    need_norm: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    normed, mean, inverse = _norm(z, gamma, beta, eps)
    wide = normed.dtype
    kept = normed if act in FROM_INPUT else activate_in_place(normed, act)
    d = slope(grad.to(wide), kept, act)
    dz, gamma_grad, beta_grad = torch.ops.aten.native_layer_norm_backward(
        d,
        z.to(wide),
        [z.shape[1]],
        mean,
        inverse,
        gamma.to(wide),
        beta.to(wide),
        [True, need_norm, need_norm],
    )
    bias_grad = dz.sum(0).to(z.dtype) if need_bias else z.new_empty(0)
    if not need_norm:
        gamma_grad, beta_grad = gamma.new_empty(0), gamma.new_empty(0)
    return dz.to(z.dtype), bias_grad, gamma_grad.to(gamma.dtype), beta_grad.to(gamma.dtype)
