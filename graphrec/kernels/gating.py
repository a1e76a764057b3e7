"""Twins of the gating layers: each product with a Linear's output is that Linear's epilogue."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from graphrec.kernels.linear import act_of_linear, act_of_norm, scaled_by_linear
from graphrec.kernels.mlp import TritonDense, TritonMLP
from graphrec.nn.dense import MLP, Dense, Linear
from graphrec.nn.gating import EPNet, GateNU, MaskBlock, MaskNet, PPNet
from graphrec.nn.split import Split

__all__ = ["TritonEPNet", "TritonGateNU", "TritonMaskBlock", "TritonMaskNet", "TritonPPNet"]


class TritonMaskBlock(MaskBlock):
    """A `MaskBlock` in three operators: W_1 with ReLU, x times W_2, W_h with norm and ReLU.

    >>> TritonMaskBlock(8, 6, hidden=4, aggregation=3)(torch.zeros(2, 8), torch.ones(2, 6)).shape
    torch.Size([2, 4])
    """

    def forward(self, x: Tensor, mask: Tensor | Split) -> Tensor:
        masked = scaled_by_linear(x, _rectified(self.aggregate, mask), self.project)
        return act_of_norm(masked, self.hidden.weight, self.hidden.bias, self.norm, "relu")


class TritonMaskNet(MaskNet):
    """A `MaskNet` of `TritonMaskBlock`s, with a `TritonMLP` behind them."""

    block: ClassVar[type[MaskBlock]] = TritonMaskBlock
    perceptron: ClassVar[type[MLP]] = TritonMLP


class TritonGateNU(GateNU):
    """A `GateNU` that scales features in its second Linear's epilogue."""

    def scale(self, features: Tensor, x: Tensor | Split) -> Tensor:
        """`features` [B, out] times the factors, which are never in memory on their own."""
        hidden = _rectified(self.hidden, x)
        return scaled_by_linear(features, hidden, self.out, "sigmoid", self.gamma)


class TritonEPNet(EPNet):
    """An `EPNet` whose gate is a `TritonGateNU`."""

    gate_layer: ClassVar[type[GateNU]] = TritonGateNU


class TritonPPNet(PPNet):
    """A `PPNet` of `TritonDense` layers and `TritonGateNU`s."""

    layer: ClassVar[type[Dense]] = TritonDense
    gate_layer: ClassVar[type[GateNU]] = TritonGateNU


def _rectified(layer: Linear, x: Tensor | Split) -> Tensor:
    if isinstance(x, Split):
        return torch.relu(x.linear(layer.weight, layer.bias))
    return act_of_linear(x, layer.weight, layer.bias, "relu")
