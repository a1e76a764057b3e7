"""Gradients against finite differences, for every input and every weight by its name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from graphrec.nn import Jagged
from graphrec.verify.block.example import Example, tensors
from graphrec.verify.block.verdict import Unfit, reported, smooth
from graphrec.verify.layer_calls import values_of

__all__ = ["check_gradients"]

Run = Callable[..., tuple[Tensor, ...]]


def check_gradients(example: Example) -> None:
    """Gradients of the inputs and weights equal finite differences (evaluation, float64)."""
    # Evaluation: running statistics would move from one difference to the next.
    layer = smooth(example).eval()
    inputs = tensors(example.inputs, example.lengths)
    leaves = [values_of(x).requires_grad_() for x in inputs]
    weights = {name: p for name, p in layer.named_parameters() if p.requires_grad}

    def run(*values: Tensor) -> tuple[Tensor, ...]:
        arguments = [
            x.replace(v) if isinstance(x, Jagged) else v
            for x, v in zip(inputs, values[: len(inputs)], strict=True)
        ]
        named = dict(zip(weights, values[len(inputs) :], strict=True))
        result = torch.func.functional_call(layer, named, tuple(arguments))
        outputs = result if isinstance(result, tuple) else (result,)
        return tuple(values_of(output) for output in outputs)

    values = [*leaves, *weights.values()]
    fixed = len(leaves) if example.stops_gradients else 0
    checked = range(fixed, len(values))
    if not checked:
        return
    outputs = reported("calling the layer", lambda: run(*values))
    if not any(output.requires_grad for output in outputs):
        raise Unfit("the output depends on no input and no weight: no gradient reaches them")
    if _agrees(run, values, list(checked)) is None:
        return
    names = [*example.input_names, *weights]
    wrong = {
        names[i]: numbers for i in checked if (numbers := _agrees(run, values, [i])) is not None
    }
    shown = ", ".join(f"`{name}`" for name in wrong) or "all together"
    detail = next(iter(wrong.values()), "")
    hint = "" if wrong.keys() & weights.keys() else "\n(stopped on purpose? --stops-gradients)"
    raise Unfit(f"the gradient of {shown} is not that of finite differences{detail}{hint}")


def _agrees(run: Run, values: list[Tensor], free: list[int]) -> str | None:
    """None where the gradients of these values agree, else the numbers that don't."""

    def some(*given: Tensor) -> tuple[Tensor, ...]:
        full = [value.detach() for value in values]
        for place, value in zip(free, given, strict=True):
            full[place] = value
        # An output that depends on none of these is no output of this function.
        outputs = tuple(output for output in run(*full) if output.requires_grad)
        return outputs or tuple(output + 0 * sum(g.sum() for g in given) for output in run(*full))

    try:
        torch.autograd.gradcheck(some, tuple(values[i] for i in free), fast_mode=True)
    except GradcheckError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        numbers = [line for line in lines if line.startswith(("numerical", "analytical"))]
        return "".join(f"\n{line}" for line in numbers[:2])
    return None
