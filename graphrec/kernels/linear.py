"""The linear operators as functions on [..., K]: any leading axes, and autocast, which is not
known to a custom operator: what it would cast for a Linear is cast here. Rows that end inside a
vector are copied here, too, with zeros behind: so one copy serves all three products of a layer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.kernels.ops.linear_act import linear_act
from graphrec.kernels.ops.linear_norm_act import linear_norm_act
from graphrec.kernels.ops.linear_scale import linear_scale
from graphrec.kernels.route import whole

__all__ = ["act_of_linear", "act_of_norm", "scaled_by_linear", "wider"]


def act_of_linear(x: Tensor, weight: Tensor, bias: Tensor | None, act: str) -> Tensor:
    """act(x W^T + b), [..., N], in `graphrec::linear_act`."""
    columns = weight.shape[0]
    rows, weight, bias = _autocast(_rows(x), weight, bias)
    rows, weight = wider(rows), wider(weight)
    y: Tensor = linear_act(rows, weight, bias, act, torch.is_grad_enabled())[0]
    return y.reshape(*x.shape[:-1], columns)


def act_of_norm(
    x: Tensor, weight: Tensor, bias: Tensor | None, norm: nn.LayerNorm, act: str
) -> Tensor:
    """act(LayerNorm(x W^T + b)), [..., N], in `graphrec::linear_norm_act`.

    Under autocast the result has autocast's type, where torch's own layer norm gives fp32.
    """
    columns = weight.shape[0]
    rows, weight, bias = _autocast(_rows(x), weight, bias)
    rows, weight = wider(rows), wider(weight)
    save = torch.is_grad_enabled()
    y: Tensor = linear_norm_act(rows, weight, bias, norm.weight, norm.bias, norm.eps, act, save)[0]
    return y.reshape(*x.shape[:-1], columns)


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
    by, skips_x, save = _rows(factor), skip is x and rows.dtype == x.dtype, torch.is_grad_enabled()
    more = -rows.shape[1] % whole(rows)
    rows, weight = wider(rows), wider(weight)
    if skips_x and more:  # then what is added is as wide as the result
        by, weight = wider(by, more), F.pad(weight, (0, 0, 0, more))
        bias = None if bias is None else F.pad(bias, (0, more))
    last = rows if skips_x else None if skip is None else _rows(skip)
    y: Tensor = linear_scale(rows, weight, bias, by, last, act, scale, save)[0]
    y = y[:, : layer.out_features] if skips_x and more else y
    return y.reshape(factor.shape)


def wider(x: Tensor, more: int | None = None) -> Tensor:
    """x [M, K] with so many columns of zeros behind, or as many as fill its last vector."""
    more = -x.shape[1] % whole(x) if more is None else more
    # Not a pad, whose gradient is one more copy: that of `cat` is a view.
    return torch.cat((x, x.new_zeros(x.shape[0], more)), 1) if more else x


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
