"""`TritonMMoE`, `TritonPLE`: twins whose experts, and whose gates, are one launch a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.kernels.ops.experts import experts_act
from graphrec.kernels.ops.mix import mix_experts
from graphrec.kernels.plain import expect_plain, layers_of, widths
from graphrec.nn.dense import Dense, Linear
from graphrec.nn.multitask import CGC, PLE, MMoE

__all__ = ["TritonMMoE", "TritonPLE"]

_ALIGN = 16
"""Gates of equal width, a multiple of this, are one product without further padding."""


class TritonMMoE(MMoE):
    """An `MMoE` with one launch per layer of all experts, one for the gates, one that mixes.

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
        return _given(mix_experts(logits, experts, 0, 0), x, first)


class TritonPLE(PLE):
    """A `PLE` with one launch per layer of a level's experts, one for its gates, one that mixes.

    Private and shared experts of other `hidden` are one launch each. Same constructor, state_dict
    keys and results; raises ValueError for a norm, dropout or an activation that the operator has
    not.

    >>> [y.shape for y in TritonPLE(8, 2, ["a", "b"], 1, 1, [4, 2])(torch.zeros(5, 8))]
    [torch.Size([5, 2]), torch.Size([5, 2])]
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        expect_plain(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        first = layers_of([*cast(CGC, self.levels[0]).shared])[0][0]
        slots = _cast(x, first)[:, None]
        for level in self.levels:
            slots = _level(cast(CGC, level), slots)
        return _given(slots.transpose(0, 1), x, first)


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
    """Logits [M, G, C] of gates that read slots of x; C is a multiple of 16, zeros fill it."""
    linears = [cast(Linear, gate) for gate in gates]
    most = max(gate.out_features for gate in linears)
    return _together(linears, x, 1, "none", most + -most % _ALIGN)


def _together(
    layers: Sequence[Dense] | Sequence[Linear],
    x: Tensor,
    per: int,
    act: str,
    width: int | None = None,
) -> Tensor:
    weights, biases = [], []
    for layer in layers:
        weight, bias = layer.affine()
        more = 0 if width is None else width - weight.shape[0]
        weights.append(F.pad(weight, (0, 0, 0, more)) if more else weight)
        if bias is not None:
            biases.append(F.pad(bias, (0, more)) if more else bias)
    stacked = torch.stack(weights).to(x.dtype)
    beside = torch.stack(biases).to(x.dtype) if biases else None
    y: Tensor = experts_act(x, stacked, beside, per, act, torch.is_grad_enabled())[0]
    return y


def _cast(x: Tensor, layer: Dense) -> Tensor:
    """x in the type to compute in; a custom operator is unknown to autocast."""
    if layer.ready is not None:
        return x.to(layer.affine()[0].dtype)
    device = x.device.type
    if device == "meta" or not torch.is_autocast_enabled(device) or x.dtype == torch.float64:
        return x
    return x.to(torch.get_autocast_dtype(device))


def _given(mixed: Tensor, x: Tensor, layer: Dense) -> tuple[Tensor, ...]:
    """Outputs of the gates [G, M, D]; a prepared module gives the type that it got."""
    return (mixed if layer.ready is None else mixed.to(x.dtype)).unbind(0)
