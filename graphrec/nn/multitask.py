"""Layers that several tasks share: MMoE, PLE, relations between towers, a fusion tower.

Bundles are tuples in the order of the names given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from graphrec.nn.dense import MLP, Linear, dtype_of, side_by_side
from graphrec.nn.mixing import mix, mix_all, without_some
from graphrec.nn.products import cast_input
from graphrec.nn.split import Split, beside

__all__ = ["AITM", "CGC", "MMoE", "PLE", "FusionTower", "RelationMLP", "gate_logits"]


class Named(nn.Module):
    """Modules under names of the author's choice; nn.ModuleDict forbids `keys`, `items`, ..."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)

    def __getitem__(self, name: str) -> nn.Module:
        return self.get_submodule(name)


class MMoE(nn.Module):
    """Experts shared by gates: out_t = sum over k of softmax(gate_t)_k expert_k, [B, D] each.

    A gate is a Linear over x, or over an MLP of it if `gate_hidden` is given; in training it leaves
    out each expert with probability `expert_dropout`. Keys `experts.<k>.*`, `gates.<name>.*`,
    `gate_mlps.<name>.*`. Ma et al., Multi-gate Mixture-of-Experts, KDD 2018.
    """

    def __init__(
        self,
        in_features: int,
        experts: int,
        hidden: Sequence[int],
        gates: Sequence[str],
        gate_hidden: Sequence[int] = (),
        gate_activation: str = "relu",
        gate_norm: str = "none",
        gate_bias: bool = True,
        activation: str = "relu",
        norm: str = "none",
        dropout: float | Sequence[float] = 0.0,
        bias: bool = True,
        gate_dropout: float | Sequence[float] = 0.0,
        expert_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.expert_dropout = expert_dropout
        self.experts = nn.ModuleList(
            MLP(in_features, hidden, activation, norm, dropout, bias) for _ in range(experts)
        )
        own = (gate_hidden, gate_activation, gate_norm, gate_dropout, gate_bias)
        self.gate_mlps = (
            Named({name: MLP(in_features, *own) for name in gates}) if gate_hidden else None
        )
        width = gate_hidden[-1] if gate_hidden else in_features
        self.gates = Named({name: Linear(width, experts) for name in gates})
        self.names = tuple(gates)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = cast_input(x)
        experts = [expert(x) for expert in self.experts]
        logits = self.logits(x)
        if self.training and self.expert_dropout:
            logits = without_some(logits, self.expert_dropout)
        return mix_all(logits, experts)

    def logits(self, x: Tensor) -> Tensor:
        """What the gates say, [B, T, experts]."""
        gates = [cast(Linear, self.gates[name]) for name in self.names]
        if self.gate_mlps is None:
            return gate_logits(gates, x)
        reads = [self.gate_mlps[name](x) for name in self.names]
        return torch.stack([gate(read) for gate, read in zip(gates, reads, strict=True)], dim=1)


def gate_logits(gates: Sequence[Linear], x: Tensor | Split) -> Tensor:
    """Logits [B, T, experts] of gates over one x, in one product."""
    y = side_by_side(gates, x).view(-1, len(gates), gates[0].out_features)
    return y if gates[0].ready is None else y.to(dtype_of(x))


class CGC(nn.Module):
    """One level of PLE: experts of each task and shared ones, mixed by a gate per task.

    Task t mixes its own experts and the shared ones by a gate over its own input; the shared output
    (not on the `last` level) mixes all of them by a gate over the shared input. `in_features` is
    the width of every input, or a list of the tasks' widths with `shared_features` beside it. In
    training a gate leaves out each expert with probability `expert_dropout`.
    """

    def __init__(
        self,
        in_features: int | Sequence[int],
        gates: Sequence[str],
        private: int,
        shared: int,
        hidden: Sequence[int],
        shared_hidden: Sequence[int],
        last: bool,
        activation: str = "relu",
        norm: str = "none",
        dropout: float | Sequence[float] = 0.0,
        bias: bool = True,
        shared_features: int | None = None,
        expert_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.expert_dropout = expert_dropout

        def experts(count: int, width: int, hidden: Sequence[int]) -> nn.ModuleList:
            mlps = (MLP(width, hidden, activation, norm, dropout, bias) for _ in range(count))
            return nn.ModuleList(mlps)

        own = [in_features] * len(gates) if isinstance(in_features, int) else list(in_features)
        width = own[0] if shared_features is None else shared_features
        widths = dict(zip(gates, own, strict=True))
        self.experts = Named({name: experts(private, widths[name], hidden) for name in gates})
        self.shared = experts(shared, width, shared_hidden)
        self.gates = Named({name: Linear(widths[name], private + shared) for name in gates})
        every = len(gates) * private + shared
        self.shared_gate = None if last else Linear(width, every)
        self.names = tuple(gates)

    def forward(self, xs: Sequence[Tensor], shared: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Outputs of the tasks, and the shared one (on the last level: the input)."""
        shared, xs = cast_input(shared), [cast_input(x) for x in xs]
        common = [expert(shared) for expert in self.shared]
        every, outputs = [], []
        for name, x in zip(self.names, xs, strict=True):
            own = [expert(x) for expert in self.experts[name].children()]
            every += own
            outputs.append(self._mixed(self.gates[name](x), [*own, *common]))
        if self.shared_gate is not None:
            shared = self._mixed(self.shared_gate(shared), [*every, *common])
        return tuple(outputs), shared

    def _mixed(self, logits: Tensor, experts: Sequence[Tensor]) -> Tensor:
        if self.training and self.expert_dropout:
            logits = without_some(logits, self.expert_dropout)
        return mix(logits, experts)


class PLE(nn.Module):
    """Progressive layered extraction: `levels` of `CGC`, one output [B, D] per gate.

    `private`, `shared`, `hidden` and `shared_hidden` hold for every level, or are lists with one
    entry per level. Tang et al., Progressive Layered Extraction, RecSys 2020.
    """

    def __init__(
        self,
        in_features: int,
        levels: int,
        gates: Sequence[str],
        private: int | Sequence[int],
        shared: int | Sequence[int],
        hidden: Sequence[int] | Sequence[Sequence[int]],
        shared_hidden: Sequence[int] | Sequence[Sequence[int]] | None = None,
        activation: str = "relu",
        norm: str = "none",
        dropout: float | Sequence[float] = 0.0,
        bias: bool = True,
        expert_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        width = in_features
        for level in range(levels):
            own = _at(hidden, level)
            common = own if shared_hidden is None else _at(shared_hidden, level)
            self.levels.append(
                CGC(
                    width,
                    gates,
                    _count(private, level),
                    _count(shared, level),
                    own,
                    common,
                    level == levels - 1,
                    activation,
                    norm,
                    dropout,
                    bias,
                    expert_dropout=expert_dropout,
                )
            )
            width = own[-1]
        self.num_tasks = len(gates)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = cast_input(x)
        outputs: tuple[Tensor, ...] = (x,) * self.num_tasks
        for level in self.levels:
            outputs, x = level(outputs, x)
        return outputs


def _at(widths: Sequence[int] | Sequence[Sequence[int]], level: int) -> Sequence[int]:
    """The layer widths of one level."""
    if isinstance(widths[0], int):
        return cast(Sequence[int], widths)
    return cast(Sequence[Sequence[int]], widths)[level]


def _count(number: int | Sequence[int], level: int) -> int:
    return number if isinstance(number, int) else number[level]


class RelationMLP(MLP):
    """An MLP over a task's own tower and its parents' outputs, side by side.

    Wang et al., Deep Bayesian Multi-Target Learning, 2019.
    """

    def forward(self, *xs: Tensor | Split) -> Tensor:  # type: ignore[override]
        mixed: Tensor = super().forward(beside(*xs))  # type: ignore[assignment]
        return mixed


class AITM(nn.Module):
    """Attention between a task's own tower and what its parents pass on, [B, D].

    Parent i is first passed through `info.<i>`; over u in {own, info_1, ...} the result is the sum
    of softmax(<key(u), query(u)> / sqrt(D)) value(u). Xi et al., Adaptive Information Transfer
    Multi-task, KDD 2021.
    """

    def __init__(self, in_features: int, parents: int = 1) -> None:
        super().__init__()
        self.info = nn.ModuleList(Linear(in_features, in_features) for _ in range(parents))
        self.query = Linear(in_features, in_features)
        self.key = Linear(in_features, in_features)
        self.value = Linear(in_features, in_features)

    def forward(self, own: Tensor, *parents: Tensor) -> Tensor:
        passed = [info(parent) for info, parent in zip(self.info, parents, strict=True)]
        seen = torch.stack([own, *passed], dim=1)
        scores = (self.query(seen) * self.key(seen)).sum(-1) / math.sqrt(seen.shape[-1])
        return mix(scores, self.value(seen).unbind(1))


class FusionTower(nn.Module):
    """user * item, an optional MLP, and one Linear split by output: [B, classes] each.

    `outputs` maps each output's name to its number of classes.
    """

    def __init__(
        self,
        in_features: int,
        outputs: Mapping[str, int],
        hidden: Sequence[int] = (),
        activation: str = "relu",
        norm: str = "none",
        dropout: float | Sequence[float] = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.mlp = MLP(in_features, hidden, activation, norm, dropout, bias) if hidden else None
        self.sizes = list(outputs.values())
        self.head = Linear(hidden[-1] if hidden else in_features, sum(self.sizes))

    def forward(self, user: Tensor, item: Tensor) -> tuple[Tensor, ...]:
        x = user * item
        logits = self.head(x if self.mlp is None else self.mlp(x))
        return tuple(torch.split(logits, self.sizes, dim=1))
