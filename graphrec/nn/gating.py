"""Layers that scale features by what other features say: MaskNet, EPNet, PPNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from graphrec.nn.dense import MLP, Dense, Linear
from graphrec.nn.split import Split, beside, whole

__all__ = ["EPNet", "GateNU", "MaskBlock", "MaskNet", "PPNet"]


class MaskBlock(nn.Module):
    """ReLU(LayerNorm(W_h (x * (W_2 ReLU(W_1 m))))): x [B, D] masked by m [B, M], [B, hidden].

    Keys `aggregate` (W_1), `project` (W_2), `hidden` (W_h) and `norm`. Wang et al., MaskNet, 2021.
    """

    def __init__(self, in_features: int, mask_features: int, hidden: int, aggregation: int) -> None:
        super().__init__()
        self.aggregate = Linear(mask_features, aggregation)
        self.project = Linear(aggregation, in_features)
        self.hidden = Linear(in_features, hidden)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, x: Tensor, mask: Tensor | Split) -> Tensor:
        factors = self.project(torch.relu(self.aggregate(mask)))
        return torch.relu(self.norm(self.hidden(x * factors)))


class MaskNet(nn.Module):
    """Mask blocks over LayerNorm(x), all masked by x, then an optional MLP `top`.

    `parallel`: the blocks side by side, [B, blocks * hidden]; `serial`: each reads the one before,
    [B, hidden]. Give the width of the masks' middle as `aggregation`, or as `reduction` times the
    block's input width. Wang et al., MaskNet, 2021.
    """

    block: ClassVar[type[MaskBlock]] = MaskBlock
    perceptron: ClassVar[type[MLP]] = MLP
    """What it is made of; a kernel with other parts is a subclass."""

    def __init__(
        self,
        in_features: int,
        blocks: int,
        hidden: int,
        aggregation: int | None = None,
        reduction: float = 1.0,
        top: Sequence[int] = (),
        mode: str = "parallel",
        activation: str = "relu",
        norm: str = "none",
        dropout: float | Sequence[float] = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if mode not in ("parallel", "serial"):
            raise ValueError(f"unknown mode `{mode}`; there are parallel, serial")
        serial = mode == "serial"
        widths = [in_features, *[hidden if serial else in_features] * (blocks - 1)]
        self.norm = nn.LayerNorm(in_features)
        self.blocks = nn.ModuleList(
            self.block(width, in_features, hidden, aggregation or max(1, int(reduction * width)))
            for width in widths
        )
        self.serial = serial
        width = hidden if serial else blocks * hidden
        self.top = self.perceptron(width, top, activation, norm, dropout, bias) if top else None

    def forward(self, x: Tensor | Split) -> Tensor:
        y: Tensor = self.norm(whole(x))
        if self.serial:
            for block in self.blocks:
                y = block(y, x)
        else:
            y = torch.cat([block(y, x) for block in self.blocks], dim=1)
        if self.top is not None:
            y = self.top(y)
        return y


class GateNU(nn.Module):
    """gamma * sigmoid(W_2 ReLU(W_1 x)): factors between 0 and gamma, [B, out]."""

    def __init__(self, in_features: int, hidden: int, out: int, gamma: float = 2.0) -> None:
        super().__init__()
        self.hidden, self.out, self.gamma = Linear(in_features, hidden), Linear(hidden, out), gamma

    def forward(self, x: Tensor | Split) -> Tensor:
        return self.gamma * torch.sigmoid(self.out(torch.relu(self.hidden(x))))

    def scale(self, features: Tensor, x: Tensor | Split) -> Tensor:
        """`features` [B, out] times the factors."""
        return features * self.forward(x)


class EPNet(nn.Module):
    """x [B, D] scaled by a gate that reads the domain and (without gradient) x itself.

    Chang et al., PEPNet, KDD 2023.
    """

    gate_layer: ClassVar[type[GateNU]] = GateNU
    """What the gate is; a kernel with another is a subclass."""

    def __init__(
        self, in_features: int, domain_features: int, hidden: int, gamma: float = 2.0
    ) -> None:
        super().__init__()
        self.gate = self.gate_layer(domain_features + in_features, hidden, in_features, gamma)

    def forward(self, x: Tensor | Split, domain: Tensor | Split) -> Tensor:
        return self.gate.scale(whole(x), beside(domain, x.detach()))


class PPNet(nn.Module):
    """A perceptron whose every layer is scaled by a gate of its own, [B, hidden[-1]].

    The gates read the domain and (without gradient) x. Chang et al., PEPNet, KDD 2023.
    """

    layer: ClassVar[type[Dense]] = Dense
    gate_layer: ClassVar[type[GateNU]] = GateNU
    """What it is made of; a kernel with other parts is a subclass."""

    def __init__(
        self,
        in_features: int,
        domain_features: int,
        hidden: Sequence[int],
        gate_hidden: int,
        activation: str = "relu",
        norm: str = "none",
        dropout: float = 0.0,
        gamma: float = 2.0,
    ) -> None:
        super().__init__()
        widths = [in_features, *hidden]
        self.layers = nn.ModuleList(
            self.layer(width, out, activation, norm, dropout)
            for width, out in zip(widths, hidden, strict=False)
        )
        self.gates = nn.ModuleList(
            self.gate_layer(domain_features + in_features, gate_hidden, out, gamma)
            for out in hidden
        )

    def forward(self, x: Tensor | Split, domain: Tensor | Split) -> Tensor:
        context = beside(domain, x.detach())
        y = x
        for layer, gate in zip(self.layers, self.gates, strict=True):
            y = cast(GateNU, gate).scale(layer(y), context)
        return whole(y)
