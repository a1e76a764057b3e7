"""`TritonMLP`: the twin of `graphrec.nn.dense.MLP` whose layers are one fused operator each."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from graphrec.kernels.ops.linear_act import FUSED, linear_act
from graphrec.nn.dense import MLP, Dense

__all__ = ["TritonDense", "TritonMLP"]


class TritonDense(Dense):
    """A `Dense` that computes Linear, bias and activation in `graphrec::linear_act`.

    With a norm, or an activation that the operator does not know, it is a plain `Dense`.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.norm is not None or self.activation not in FUSED:
            return super().forward(x)
        rows, weight, bias = _autocast(x.reshape(-1, x.shape[-1]), self.weight, self.bias)
        y: Tensor = linear_act(rows, weight, bias, self.activation, torch.is_grad_enabled())[0]
        y = y.reshape(*x.shape[:-1], self.out_features)
        return y if self.dropout is None else self.dropout(y)


class TritonMLP(MLP):
    """An `MLP` of `TritonDense` layers: same constructor, same state_dict keys, same results.

    >>> TritonMLP(8, [4, 2], out=1)(torch.zeros(3, 8)).shape
    torch.Size([3, 1])
    """

    layer: ClassVar[type[Dense]] = TritonDense


def _autocast(
    x: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    # A custom operator is unknown to autocast; a Linear would be cast.
    device = x.device.type
    if device == "meta" or not torch.is_autocast_enabled(device) or x.dtype == torch.float64:
        return x, weight, bias
    dtype = torch.get_autocast_dtype(device)
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
