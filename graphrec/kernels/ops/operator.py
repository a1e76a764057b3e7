"""An operator `graphrec::*` said once: its typed function gives the schema, names give the rest.

What torch wants to be told again for every operator follows: tensors without data (`like`, which
names the arguments it reads), what the gradient keeps, and in which order gradients go back.

custom_op and not triton_op: torch.compile decomposes the latter to Triton on every device, which
fails on a machine without a GPU. Names and schemas are written into exported programs: keep them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch._library.custom_ops import CustomOpDef
from torch.library import custom_op, infer_schema

__all__ = ["differentiable", "operator"]

Named = Callable[..., Any]
"""A function of some of an operator's values, each taken by the name of the parameter."""


def operator(
    name: str, *, like: Named, check: Named | None = None
) -> Callable[[Callable[..., Any]], CustomOpDef]:
    """`graphrec::<name>`: the schema from the type hints of the decorated function.

    `like` gives empty tensors of the results' shapes and types; `check` raises a ValueError for
    arguments that don't fit, with data and without.
    """

    def declare(compute: Callable[..., Any]) -> CustomOpDef:
        names = tuple(signature(compute).parameters)
        checks, shapes = _reader(check) if check else None, _reader(like)

        @wraps(compute)
        def checked(*arguments: Any) -> Any:
            if checks is not None:
                checks(dict(zip(names, arguments, strict=True)))
            return compute(*arguments)

        def fake(*arguments: Any) -> Any:
            values = dict(zip(names, arguments, strict=True))
            if checks is not None:
                checks(values)
            return shapes(values)

        # Hints are text: they are read where `compute` stands, not where `checked` does.
        schema = infer_schema(compute, mutates_args=())
        declared = custom_op(f"graphrec::{name}", checked, mutates_args=(), schema=schema)
        declared.register_fake(fake)
        return declared

    return declare


def differentiable(
    forward: CustomOpDef,
    backward: CustomOpDef,
    *,
    of: Sequence[str],
    results: Sequence[str] = ("out",),
    keeps: Mapping[str, Named] | None = None,
    needs: Mapping[str, Sequence[str]] | None = None,
    also: Mapping[str, Named] | None = None,
) -> None:
    """Give `forward` the gradient `backward`, whose parameters say by name what they are.

    `grad` is what comes back for the first of `results`, the only one with a gradient; `need_x`
    whether x needs one; any other an argument of `forward`, one of its results, or one of `keeps`,
    made of these when `forward` runs. `needs` are flags for several arguments at once. `backward`
    gives the gradients of the arguments `of`; those of others (`also`) need no operator.
    """
    names, wanted = _names(forward), _names(backward)
    makes, others = _readers(keeps), _readers(also)
    groups = {**{f"need_{name}": (name,) for name in names}, **(needs or {})}
    kept = list(dict.fromkeys(n for n in (*wanted, *makes) if n not in ("grad", *groups)))

    def flags(ctx: Any) -> dict[str, bool]:
        need = dict(zip(names, ctx.needs_input_grad, strict=False))
        return {flag: any(need[name] for name in group) for flag, group in groups.items()}

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        outputs = output if isinstance(output, tuple) else (output,)
        values = dict(zip(names, inputs, strict=True)) | flags(ctx)
        values |= zip(results, outputs, strict=True)
        values |= {name: make(values) for name, make in makes.items()}
        ctx.tensors = [name for name in kept if isinstance(values[name], Tensor)]
        ctx.others = {name: values[name] for name in kept if name not in ctx.tensors}
        ctx.save_for_backward(*(values[name] for name in ctx.tensors))
        ctx.mark_non_differentiable(*outputs[1:])
        ctx.set_materialize_grads(False)

    def back(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * len(names)
        need = flags(ctx)
        values = {"grad": grad, **ctx.others, **need}
        values |= zip(ctx.tensors, ctx.saved_tensors, strict=True)
        grads: dict[str, Tensor | None] = {}
        if any(need[f"need_{name}"] for name in of):
            grads |= zip(of, backward(*(values[name] for name in wanted)), strict=True)
        grads |= {name: make(values) for name, make in others.items()}
        return tuple(grads.get(name) if need[f"need_{name}"] else None for name in names)

    forward.register_autograd(back, setup_context=setup)


def _names(op: CustomOpDef) -> tuple[str, ...]:
    packet = getattr(torch.ops.graphrec, op._name)
    return tuple(argument.name for argument in packet.default._schema.arguments)


def _readers(functions: Mapping[str, Named] | None) -> dict[str, Callable[..., Any]]:
    return {name: _reader(function) for name, function in (functions or {}).items()}


def _reader(function: Named) -> Callable[[Mapping[str, Any]], Any]:
    """The function of all values by name that hands on those which `function` has a name for."""
    names = tuple(signature(function).parameters)
    return lambda values: function(*(values[name] for name in names))
