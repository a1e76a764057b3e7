"""`TritonMMoE`, `TritonPLE`: twins whose experts, and whose gates, are one launch a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.kernels.linear import wider
from graphrec.kernels.ops.experts import experts_act
from graphrec.kernels.ops.mix import mix_experts
from graphrec.kernels.plain import expect_plain, layers_of, widths
from graphrec.kernels.route import whole
from graphrec.nn.dense import Dense, Linear
from graphrec.nn.multitask import CGC, PLE, MMoE

__all__ = ["TritonMMoE", "TritonPLE"]


class TritonMMoE(MMoE):
    """An `MMoE` with one launch per layer of all experts, one for the gates, one that mixes.

    Before each launch the parameters are stacked, with zeros where a width is no whole vector.
    Same constructor, state_dict keys and results; raises ValueError for a norm, dropout or an
    activation that the operator has not.

    >>> [y.shape for y in TritonMMoE(8, 3, [4, 2], ["a", "b"])(torch.zeros(5, 8))]
    [torch.Size([5, 2]), torch.Size([5, 2])]
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        expect_plain(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        first = layers_of([*self.experts])[0][0]
        read = _cast(x, first)[:, None]
        experts = _perceptrons([*self.experts], read)
        if self.gate_mlps is not None:
            read = _perceptrons([self.gate_mlps[name] for name in self.names], read)
        logits = _gates([self.gates[name] for name in self.names], read)
        return _given(mix_experts(logits, experts, 0, 0), x, layers_of([*self.experts])[-1][0])


class TritonPLE(PLE):
    """A `PLE` with one launch per layer of a level's experts, one for its gates, one that mixes.

    Private and shared experts of other `hidden` are one launch each, parameters are stacked as in
    `TritonMMoE`. Same constructor, state_dict keys and results; raises ValueError for a norm,
    dropout or an activation that the operator has not.

    >>> [y.shape for y in TritonPLE(8, 2, ["a", "b"], 1, 1, [4, 2])(torch.zeros(5, 8))]
    [torch.Size([5, 2]), torch.Size([5, 2])]
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        expect_plain(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        first, *_ = layers_of([*cast(CGC, self.levels[0]).shared])[0]
        *_, (last, *_) = layers_of([*cast(CGC, self.levels[-1]).shared])
        slots = _cast(x, first)[:, None]
        for level in self.levels:
            slots = _level(cast(CGC, level), slots)
        return _given(slots.transpose(0, 1), x, last)


def _level(level: CGC, slots: Tensor) -> Tensor:
    """Mixed experts [M, G, D] of one level: the tasks', and on all but the last the shared slot.

    `slots` [M, S, K] are such outputs of the level before, or one slot that everything reads.
    """
    private = [expert for name in level.names for expert in level.experts[name].children()]
    shared = [*level.shared]
    per, tasks = len(private) // len(level.names), len(level.names)
    inputs = slots[:, :tasks]  # the shared slot is behind those of the tasks
    if widths(private) == widths(shared):
        experts = _perceptrons([*private, *shared], slots, per)
    else:
        # Mixing reads one tensor; a copy of it, for experts that share no launch.
        parts = _perceptrons(private, inputs, per), _perceptrons(shared, slots[:, -1:])
        experts = torch.cat(parts, dim=1)
    gates = [level.gates[name] for name in level.names]
    if level.shared_gate is None:
        logits = _gates(gates, inputs)
    else:
        logits = _gates([*gates, level.shared_gate], slots)
    return cast(Tensor, mix_experts(logits, experts, tasks, per)).transpose(0, 1)


def _perceptrons(mlps: Sequence[nn.Module], x: Tensor, per: int = 1) -> Tensor:
    """Outputs [M, E, N] of MLPs of equal widths; the first layers read x [M, S, K] by slots."""
    for layers in layers_of(mlps):
        x = _together(layers, x, per, layers[0].activation)
        per = 1
    return x


def _gates(gates: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Logits [M, G, C] of gates that read slots of x; zeros fill those of narrow ones."""
    return _together([cast(Linear, gate) for gate in gates], x, 1, "none")


def _together(layers: Sequence[Dense] | Sequence[Linear], x: Tensor, per: int, act: str) -> Tensor:
    """Outputs [M, E, N] of layers that read slots of x, for the largest width made whole."""
    parameters = [layer.affine() for layer in layers]
    most = max(weight.shape[0] for weight, _ in parameters)
    weight = torch.stack([_taller(weight, most) for weight, _ in parameters]).to(x.dtype)
    more, deeper = -most % whole(x), x.shape[2] - weight.shape[2]
    if more or deeper:
        weight = F.pad(weight, (0, deeper, 0, more))
    biases = [_taller(bias, most) for _, bias in parameters if bias is not None]
    bias = torch.stack(biases).to(x.dtype) if biases else None
    if bias is not None and more:
        bias = F.pad(bias, (0, more))
    y: Tensor = experts_act(x, weight, bias, per, act, torch.is_grad_enabled())[0]
    return y


def _taller(parameter: Tensor, rows: int) -> Tensor:
    """A weight or a bias with zeros below it."""
    more = rows - parameter.shape[0]
    return F.pad(parameter, (*(0, 0) * (parameter.dim() - 1), 0, more)) if more else parameter


def _cast(x: Tensor, layer: Dense) -> Tensor:
    """x in the type to compute in (autocast does not know custom operators), its rows whole."""
    device = x.device.type
    if layer.ready is not None:
        x = x.to(layer.affine()[0].dtype)
    elif device != "meta" and torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        x = x.to(torch.get_autocast_dtype(device))
    return wider(x)


def _given(mixed: Tensor, x: Tensor, layer: Dense) -> tuple[Tensor, ...]:
    """Outputs of the gates [G, M, D] as wide as the last layer; a prepared module gives the type
    that it got.
    """
    if mixed.shape[2] > layer.out_features:
        mixed = mixed[..., : layer.out_features]
    return (mixed if layer.ready is None else mixed.to(x.dtype)).unbind(0)
