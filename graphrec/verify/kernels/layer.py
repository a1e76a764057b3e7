"""A block's layer alone: made from its arguments, called on random inputs of its shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graphrec.ground.shapes import Shape
from graphrec.nn import Jagged
from graphrec.verify.block import call, layer_class, tensors
from graphrec.verify.block.example import Value, values_of
from graphrec.verify.kernels.compare import Results
from graphrec.verify.kernels.jobs import LayerJob

__all__ = [
    "How",
    "autocast",
    "doubled",
    "forward",
    "inputs",
    "make",
    "results",
    "steps",
    "train",
    "weights",
]

How = Literal["uniform", "full", "empty"]
"""Lengths of histories: 0 up to the longest, all the longest, all 0."""

_TYPES = {"fp64": torch.float64, "bf16": torch.bfloat16, "fp16": torch.float16}


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


def doubled(x: Value) -> Value:
    """The same input in double precision."""
    return x.replace(x.values.double()) if isinstance(x, Jagged) else x.double()


def autocast(device: str, precision: str) -> Any:
    """The arithmetic of training in that precision."""
    if precision not in ("bf16", "fp16"):
        return nullcontext()
    return torch.autocast(device, dtype=_TYPES[precision])


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
    leaves, wired = _leaves(given)
    wanted = [*leaves, *(p for p in layer.parameters() if p.requires_grad)]
    upstream: list[Tensor] = []

    def run() -> object:
        layer.train()
        with autocast(device, precision):
            outputs = _differentiable(call(layer, wired))
        if not upstream:
            upstream.extend(torch.randn_like(output) for output in outputs)
        return torch.autograd.grad(outputs, wanted, upstream, allow_unused=True)

    return run


def results(
    layer: nn.Module,
    given: Sequence[Value],
    device: str,
    precision: str = "fp32",
    *,
    training: bool = False,
) -> Results:
    """Outputs and all gradients by name; what goes backwards is random and always the same."""
    layer.train(training)
    leaves, wired = _leaves(given)
    named = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    with autocast(device, precision):
        outputs = [values_of(output) for output in call(layer, wired)]
    differentiable = _differentiable(outputs)
    generator = torch.Generator().manual_seed(7)
    upstream = [
        torch.randn(output.shape, dtype=torch.float64, generator=generator).to(output)
        for output in differentiable
    ]
    wanted = [*leaves, *named.values()]
    gradients: Sequence[Tensor | None] = [None] * len(wanted)
    if differentiable:
        gradients = torch.autograd.grad(differentiable, wanted, upstream, allow_unused=True)
    names = [*(f"input {i}" for i in range(len(leaves))), *named]
    values: dict[str, Tensor | None] = {f"output {i}": o.detach() for i, o in enumerate(outputs)}
    values |= {f"gradient of {n}": g for n, g in zip(names, gradients, strict=True)}
    return Results(values, sum(float(g.double().square().sum()) for g in upstream) ** 0.5)


def _leaves(given: Sequence[Value]) -> tuple[list[Tensor], list[Value]]:
    """Fresh leaves with gradients, and the inputs made of them."""
    leaves = [values_of(x).detach().clone().requires_grad_() for x in given]
    wired = [
        x.replace(leaf) if isinstance(x, Jagged) else leaf
        for x, leaf in zip(given, leaves, strict=True)
    ]
    return leaves, wired


def _differentiable(outputs: Sequence[Value]) -> list[Tensor]:
    return [v for v in map(values_of, outputs) if v.requires_grad]
