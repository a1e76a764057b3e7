"""`train.memory: low`: activations inside a node are computed again in the backward pass.

A step's memory above tables and state is mostly what nodes keep for their gradients: every hidden
layer of every expert. Here a node (an expert, where there are several) keeps its inputs alone, and
is run a second time when its gradients are wanted, for another forward pass of the products.

torch.utils.checkpoint does the same. It is not used because its first call imports torch's
compiler, which takes as much memory as a model of middle size saves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from graphrec.nn.batch import Jagged
from graphrec.nn.dense import MLP
from graphrec.nn.embedding import Embeddings
from graphrec.nn.multitask import PLE, MMoE

__all__ = ["recompute_nodes"]


def recompute_nodes(module: nn.Module) -> None:
    """Let the nodes of a generated module be computed again, in place; state and results stay."""
    for node in module.children():
        for part in _parts(node):
            if _repeats(part):
                part.forward = _again(part)


def _parts(node: nn.Module) -> Iterator[nn.Module]:
    """What is run again by itself: of plain experts each, else one node would be all there is."""
    if type(node) in (MMoE, PLE):
        yield from (part for part in node.modules() if isinstance(part, MLP))
    else:
        yield node


def _repeats(part: nn.Module) -> bool:
    """Whether a second run is worth it, and the same as the first.

    Lookups keep row numbers only. Running statistics would count the batch twice.
    """
    inside = list(part.modules())
    if any(isinstance(one, Embeddings) for one in inside) or any(True for _ in part.buffers()):
        return False
    return len(inside) > 1 and any(True for _ in part.parameters())


def _again(part: nn.Module) -> Callable[..., Any]:
    forward = part.forward
    parameters = [parameter for parameter in part.parameters() if parameter.requires_grad]
    drawn = any(isinstance(one, nn.Dropout) and one.p > 0 for one in part.modules())

    @functools.wraps(forward)
    def run(*args: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args)
        given: list[Tensor] = []
        inputs = _flatten(args, given)
        shape: Any = None

        def call(tensors: Sequence[Tensor]) -> list[Tensor]:
            nonlocal shape
            outputs: list[Tensor] = []
            shape = _flatten(forward(*_rebuilt(inputs, tensors)), outputs)
            return outputs

        outputs = _Again.apply(call, drawn, len(given), *given, *parameters)  # type: ignore[no-untyped-call]
        return _rebuilt(shape, outputs)

    return run


class _Again(torch.autograd.Function):
    """Outputs of `call` on the first `count` tensors; the others are the parameters it reads."""

    @staticmethod
    def forward(
        ctx: Any, call: Callable[..., list[Tensor]], drawn: bool, count: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.call, ctx.count = call, count
        ctx.random = _random_states(tensors[0].device) if drawn else None
        kind = tensors[0].device.type
        ctx.autocast = kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        ctx.save_for_backward(*tensors)
        return tuple(call(tensors[:count]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        needed = ctx.needs_input_grad[3:]
        inputs = [t.detach().requires_grad_(n) for t, n in zip(saved, needed, strict=True)]
        inputs[ctx.count :] = saved[ctx.count :]
        device = saved[0].device
        kind, dtype, enabled = ctx.autocast
        with torch.random.fork_rng([device] if kind == "cuda" else [], enabled=bool(ctx.random)):
            if ctx.random is not None:
                _restore(ctx.random, device)
            with torch.enable_grad(), torch.autocast(kind, dtype=dtype, enabled=enabled):
                outputs = ctx.call(inputs[: ctx.count])
        wanted = [tensor for tensor, need in zip(inputs, needed, strict=True) if need]
        pairs = zip(outputs, grads, strict=True)
        reached = [(y, g) for y, g in pairs if g is not None and y.requires_grad]
        ends, given = [y for y, _ in reached], [g for _, g in reached]
        gradients = iter(torch.autograd.grad(ends, wanted, given, allow_unused=True))
        return None, None, None, *(next(gradients) if need else None for need in needed)


def _random_states(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """What dropout draws from."""
    own = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), own


def _restore(states: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if states[1] is not None:
        torch.cuda.set_rng_state(states[1], device)


# ---- tensors inside of values -------------------------------------------------------------------


def _flatten(value: Any, tensors: list[Tensor]) -> Any:
    """The value with numbers in place of its tensors, which are appended."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return _At(len(tensors) - 1)
    if isinstance(value, Jagged):
        return replace(value, values=_flatten(value.values, tensors))
    if isinstance(value, tuple | list):
        return type(value)(_flatten(one, tensors) for one in value)
    if isinstance(value, dict):
        return {key: _flatten(one, tensors) for key, one in value.items()}
    return value


class _At(int):
    """The place of a tensor."""


def _rebuilt(value: Any, tensors: Sequence[Tensor]) -> Any:
    """The value with its tensors."""
    if isinstance(value, _At):
        return tensors[value]
    if isinstance(value, Jagged):
        return replace(value, values=_rebuilt(value.values, tensors))
    if isinstance(value, tuple | list):
        return type(value)(_rebuilt(one, tensors) for one in value)
    if isinstance(value, dict):
        return {key: _rebuilt(one, tensors) for key, one in value.items()}
    return value
