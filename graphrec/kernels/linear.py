"""The linear operators as functions on [..., K]: any leading axes, and autocast, which is not
known to a custom operator: what it would cast for a Linear is cast here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphrec.kernels.ops.linear_act import linear_act
from graphrec.kernels.ops.linear_norm_act import linear_norm_act
from graphrec.kernels.ops.linear_scale import linear_scale

__all__ = ["act_of_linear", "act_of_norm", "scaled_by_linear"]


def act_of_linear(x: Tensor, weight: Tensor, bias: Tensor | None, act: str) -> Tensor:
    """act(x W^T + b), [..., N], in `graphrec::linear_act`."""
    rows, weight, bias = _autocast(_rows(x), weight, bias)
    y: Tensor = linear_act(rows, weight, bias, act, torch.is_grad_enabled())[0]
    return y.reshape(*x.shape[:-1], weight.shape[0])


def act_of_norm(
    x: Tensor, weight: Tensor, bias: Tensor | None, norm: nn.LayerNorm, act: str
) -> Tensor:
    """act(LayerNorm(x W^T + b)), [..., N], in `graphrec::linear_norm_act`.

    Under autocast the result has autocast's type, where torch's own layer norm gives fp32.
    """
    rows, weight, bias = _autocast(_rows(x), weight, bias)
    save = torch.is_grad_enabled()
    y: Tensor = linear_norm_act(rows, weight, bias, norm.weight, norm.bias, norm.eps, act, save)[0]
    return y.reshape(*x.shape[:-1], weight.shape[0])


def scaled_by_linear(
    factor: Tensor,
    x: Tensor,
    layer: nn.Linear,
    act: str = "none",
    scale: float = 1.0,
    skip: Tensor | None = None,
) -> Tensor:
    """scale * factor * act(layer(x)) + skip, [..., N], in `graphrec::linear_scale`.

    Factor and skip keep their type under autocast, as in torch. Pass the same tensor as x and skip
    where they are one: x then gets both gradients in one go.
    """
    rows, weight, bias = _autocast(_rows(x), layer.weight, layer.bias)
    if skip is x and rows.dtype == x.dtype:
        last: Tensor | None = rows
    else:
        last = None if skip is None else _rows(skip)
    save = torch.is_grad_enabled()
    y: Tensor = linear_scale(rows, weight, bias, _rows(factor), last, act, scale, save)[0]
    return y.reshape(factor.shape)


def _rows(x: Tensor) -> Tensor:
    return x if x.dim() == 2 else x.reshape(-1, x.shape[-1])


def _autocast(
    x: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    device = x.device.type
    if device == "meta" or not torch.is_autocast_enabled(device) or x.dtype == torch.float64:
        return x, weight, bias
    dtype = torch.get_autocast_dtype(device)
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
