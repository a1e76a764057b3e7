"""A block's layer alone: made from its arguments, called on random inputs of its shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Literal

import torch
from torch import Tensor, nn

from graphrec.ground.shapes import Shape
from graphrec.verify.block import layer_class, tensors
from graphrec.verify.kernels.jobs import LayerJob
from graphrec.verify.layer_calls import Value, autocast, call, cast, leaves, upstream

__all__ = [
    "How",
    "forward",
    "inputs",
    "make",
    "steps",
    "train",
    "weights",
]

How = Literal["uniform", "full", "empty"]
"""Lengths of histories: 0 up to the longest, all the longest, all 0."""


def steps(batch: int, longest: int, how: How = "uniform") -> list[int]:
    """Lengths of the histories of a batch."""
    if how != "uniform":
        return [longest if how == "full" else 0] * batch
    generator = torch.Generator().manual_seed(longest)
    drawn: list[int] = torch.randint(0, longest + 1, (batch,), generator=generator).tolist()
    return drawn


def inputs(job: LayerJob, batch: int, how: How = "uniform", seed: int = 0) -> list[Value]:
    """Random inputs for a batch, float32; histories of one sequence have equal lengths."""
    drawn: list[Value] = []
    sets = 1 if job.entry.shared else job.entry.copies
    for number, (shape, longest) in enumerate(_histories(job) * sets):
        lengths = [1] * batch if longest is None else steps(batch, longest, how)
        drawn += tensors([shape], lengths, torch.float32, seed=1000 * seed + number)
    return drawn


def _histories(job: LayerJob) -> list[tuple[Shape, int | None]]:
    return list(zip(job.inputs, job.lengths, strict=True))


def weights(job: LayerJob) -> dict[str, Tensor]:
    """Random weights of the layer, none of them zero: a bias at its first value hides mistakes."""
    torch.manual_seed(0)
    layer = _layer(job, "torch")
    with torch.no_grad():
        for parameter in layer.parameters():
            if parameter.is_floating_point():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return dict(layer.state_dict())


def make(job: LayerJob, kernel: str, state: Mapping[str, Tensor], device: str) -> nn.Module:
    """The layer of a kernel with these weights."""
    layer = _layer(job, kernel)
    layer.load_state_dict(state)
    return layer.to(device)


class _Copies(nn.Module):
    """Several layers of one kind: called one by one, or by the function that does all at once."""

    def __init__(self, parts: Sequence[nn.Module], together: str, *, shared: bool) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        module, _, name = together.partition(":")
        self.function = getattr(import_module(module), name) if together else None
        self.shared = shared

    def forward(self, *given: Value) -> tuple[Value, ...]:
        ports = len(given) if self.shared else len(given) // len(self.parts)
        rows = [given[i : i + ports] for i in range(0, len(given), ports)]
        if self.function is not None:
            columns = rows[0] if self.shared else [[*column] for column in zip(*rows, strict=True)]
            return tuple(self.function(list(self.parts), *columns))
        rows = rows * len(self.parts) if self.shared else rows
        done = (call(part, row) for part, row in zip(self.parts, rows, strict=True))
        return tuple(output for outputs in done for output in outputs)


def _layer(job: LayerJob, kernel: str) -> nn.Module:
    declared, copies = job.layers[kernel], job.entry.copies
    parts = [layer_class(declared.layer)(**job.args) for _ in range(copies)]
    if copies == 1:
        return parts[0]
    return _Copies(parts, declared.together, shared=job.entry.shared)


def forward(
    layer: nn.Module, given: Sequence[Value], device: str, precision: str
) -> Callable[[], object]:
    """One call in evaluation, without gradients."""

    def run() -> object:
        layer.eval()
        with torch.no_grad(), autocast(device, precision):
            return call(layer, given)

    return run


def train(
    layer: nn.Module, given: Sequence[Value], device: str, precision: str
) -> Callable[[], object]:
    """One call in training with the gradients of all inputs and weights."""
    wired = cast(list(given), lambda x: x.detach().clone().requires_grad_())
    wanted = [*leaves(wired), *(p for p in layer.parameters() if p.requires_grad)]
    back: list[Tensor] = []

    def run() -> object:
        layer.train()
        with autocast(device, precision):
            outputs = [output for output in leaves(call(layer, wired)) if output.requires_grad]
        if not back:
            back.extend(upstream(outputs))
        return torch.autograd.grad(outputs, wanted, back, allow_unused=True)

    return run
