"""`StackedMMoE`, `StackedPLE`: the experts of a block as few wide products, in plain torch.

First layers that read one input are one product over their rows put together; later layers are
batched products. Where a later layer is so large that oneDNN computes it faster alone, the experts
are computed one by one, as in the plain layer. So it pays where products are small (small experts,
or many, or small batches): a choice by measurement. What was measured on a CPU and not taken: the
gates' rows in the experts' first product (the activation then needs a copy of its columns), experts
first in that product (a broadcast input is slower), weighted sums of whole stacks (large
temporaries), oneDNN on the columns of the wide product (it is many times slower on rows with gaps,
and the copies cost what the product saves).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from graphrec.kernels.plain import expect_plain, layers_of, widths
from graphrec.nn.dense import Dense, Linear, side_by_side
from graphrec.nn.mixing import mix, mix_all
from graphrec.nn.multitask import CGC, PLE, MMoE, gate_logits
from graphrec.nn.products import goes_to_onednn

__all__ = ["StackedMMoE", "StackedPLE"]


class StackedMMoE(MMoE):
    """An `MMoE` whose experts are one wide product, then batched ones.

    Same constructor, state_dict keys and results; raises ValueError for a norm, dropout or an
    activation with weights.

    >>> [y.shape for y in StackedMMoE(8, 3, [4, 2], ["a", "b"])(torch.zeros(5, 8))]
    [torch.Size([5, 2]), torch.Size([5, 2])]
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        expect_plain(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return mix_all(self.logits(x), _stack([*self.experts], x))

    def logits(self, x: Tensor) -> Tensor:
        """What the gates say, [B, T, experts]."""
        if self.gate_mlps is None:
            return super().logits(x)
        reads = _stack([self.gate_mlps[name] for name in self.names], x)
        gates = [self.gates[name] for name in self.names]
        return torch.stack([gate(read) for gate, read in zip(gates, reads, strict=True)], dim=1)


class StackedPLE(PLE):
    """A `PLE` whose levels are few wide and batched products.

    Experts that read one input and have equal `hidden` are a stack: on the first level all of them,
    later those of each task, and the shared ones. Same constructor, state_dict keys and results;
    raises ValueError for a norm, dropout or an activation with weights.

    >>> [y.shape for y in StackedPLE(8, 2, ["a", "b"], 1, 1, [4, 2])(torch.zeros(5, 8))]
    [torch.Size([5, 2]), torch.Size([5, 2])]
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        expect_plain(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = (x,) * self.num_tasks
        for level in self.levels:
            outputs, x = _level(cast(CGC, level), outputs, x)
        return outputs


def _level(level: CGC, xs: Sequence[Tensor], shared: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
    """Outputs of the tasks, and the shared one (on the last level: the input)."""
    private = [[*level.experts[name].children()] for name in level.names]
    common = [*level.shared]
    gates = [cast(Linear, level.gates[name]) for name in level.names]
    if all(x is shared for x in xs):
        own = [expert for experts in private for expert in experts]
        if widths(own) == widths(common):
            experts = [*_stack([*own, *common], shared)]
        else:
            experts = [*_stack(own, shared), *_stack(common, shared)]
        logits = [*gate_logits(gates, shared).unbind(1)]
    else:
        read = zip([*private, common], [*xs, shared], strict=True)
        experts = [y for mlps, x in read for y in _stack(mlps, x)]
        logits = [gate(x) for gate, x in zip(gates, xs, strict=True)]
    per, behind = len(private[0]), experts[-len(common) :]
    outputs = tuple(
        mix(seen, [*experts[task * per : (task + 1) * per], *behind])
        for task, seen in enumerate(logits)
    )
    if level.shared_gate is not None:
        shared = mix(level.shared_gate(shared), experts)
    return outputs, shared


def _stack(mlps: Sequence[nn.Module], x: Tensor) -> Sequence[Tensor]:
    """Outputs [B, D] of MLPs of equal widths over one x [B, K]."""
    first, *later = layers_of(mlps)
    if any(_alone(layers[0], x) for layers in later):
        return [mlp(x) for mlp in mlps]
    columns = first[0].finish(side_by_side(first, x))
    stack = columns.view(-1, len(first), first[0].out_features).transpose(0, 1)
    for layers in later:
        stack = layers[0].finish(_batched(layers, stack))
    return (stack if first[0].ready is None else stack.to(x.dtype)).unbind(0)


def _alone(layer: Dense, x: Tensor) -> bool:
    """Whether its product over as many rows as x is so large that oneDNN wins over a batch."""
    like = x[:, :1].expand(-1, layer.in_features)  # only its shape and type are looked at
    return goes_to_onednn(like, layer.affine()[0])


def _batched(layers: Sequence[Dense], stack: Tensor) -> Tensor:
    """Each layer's Linear over its own [B, K] of the stack [E, B, K]."""
    weights, biases = _affine(layers)
    turned = torch.stack(weights).transpose(1, 2)
    if not biases:
        return torch.bmm(stack, turned)
    return torch.baddbmm(torch.stack(biases)[:, None], stack, turned)


def _affine(layers: Sequence[Dense] | Sequence[Linear]) -> tuple[list[Tensor], list[Tensor]]:
    parts = [layer.affine() for layer in layers]
    return [weight for weight, _ in parts], [bias for _, bias in parts if bias is not None]
