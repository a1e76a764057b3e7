"""A layer called alone: its outputs and gradients by name, for inputs of any structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from graphrec.nn import Jagged
from graphrec.verify.compare import Results

__all__ = ["Value", "autocast", "call", "cast", "leaves", "results", "upstream", "values_of"]

Value = Tensor | Jagged


def call(layer: nn.Module, inputs: Sequence[Any]) -> list[Value]:
    """The outputs as a list, however many there are."""
    result = layer(*inputs)
    return list(result) if isinstance(result, tuple | list) else [result]


def values_of(x: Value) -> Tensor:
    """The numbers of a tensor or history."""
    return x.values if isinstance(x, Jagged) else x


def cast(inputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same structure with its floats changed; lengths and ids stay."""

    def one(leaf: Any) -> Any:
        return change(leaf) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf

    return pytree.tree_map(one, inputs)


def leaves(structure: Any) -> list[Tensor]:
    """Its floats, in order."""
    every = pytree.tree_leaves(structure)
    return [x for x in every if isinstance(x, Tensor) and x.is_floating_point()]


def upstream(outputs: Sequence[Tensor]) -> list[Tensor]:
    """What goes backwards: always the same eighths, which every type holds exactly.

    A number that a type has to round would be another one for the kernel than for float64.
    """
    generator = torch.Generator().manual_seed(7)
    return [
        (torch.randint(-8, 9, y.shape, generator=generator, dtype=torch.float64) / 8).to(y)
        for y in outputs
    ]


def autocast(device: str, precision: str) -> Any:
    """The arithmetic of training in that precision."""
    types = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(device, dtype=types[precision]) if precision in types else nullcontext()


def results(
    layer: nn.Module,
    inputs: Sequence[Any],
    device: str = "cpu",
    precision: str = "fp32",
    *,
    training: bool = False,
    names: Sequence[str] = (),
) -> Results:
    """Outputs and the gradients of all inputs (`names`, or numbers) and weights, by name."""
    layer.train(training)
    wired = cast(tuple(inputs), lambda x: x.detach().clone().requires_grad_())
    wired_leaves = leaves(wired)
    weights = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    with autocast(device, precision):
        outputs = leaves(call(layer, wired))
    live = [output for output in outputs if output.requires_grad]
    back = upstream(live)
    wanted = [*wired_leaves, *weights.values()]
    gradients: Sequence[Tensor | None] = [None] * len(wanted)
    if live:
        gradients = torch.autograd.grad(live, wanted, back, allow_unused=True)
    known_as = [*(names or (f"input {i}" for i in range(len(wired_leaves)))), *weights]
    values: dict[str, Tensor | None] = {f"output {i}": o.detach() for i, o in enumerate(outputs)}
    values |= {f"gradient of {n}": g for n, g in zip(known_as, gradients, strict=True)}
    return Results(values, sum(float(g.double().square().sum()) for g in back) ** 0.5)
