"""What holds for every block, one function for each; `CHECKS` is all of them, by name.

A check takes an `Example`, returns when all is well, raises `Unfit` with what is wrong, and
`Skipped` where it has nothing to look at. Comparisons are in double precision on the CPU, those of
kernels in single precision on a GPU where there is one.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from graphrec.ground.shapes import Shape
from graphrec.nn import Jagged
from graphrec.train.tensors import unsaved
from graphrec.verify.block.example import Example, layer_class, tensors
from graphrec.verify.block.gradients import check_gradients
from graphrec.verify.block.kernel_checks import check_kernels
from graphrec.verify.block.row_checks import check_batches, check_padding, check_rows
from graphrec.verify.block.update_checks import check_checkpoint, check_updates
from graphrec.verify.block.verdict import Skipped, Unfit, reported, smooth
from graphrec.verify.layer_calls import Value, call, values_of

__all__ = ["CHECKS", "Skipped", "Unfit", "undocumented"]

BATCHES = (83, 89)
"""Primes: no width is equal to them by accident."""
STEPS = 200


def check_declaration(example: Example) -> None:
    """The declaration survives JSON, and its defaults are those of the layer."""
    block = example.block
    again = type(block).model_validate_json(block.model_dump_json())
    if again != block:
        raise Unfit(f"read again from JSON it is {again!r}, not {block!r}")
    declared = type(block).kernel("torch")
    if declared is None:
        raise Unfit('`kernels` has no entry "torch": name the layer, {"torch": "module:Class"}')
    known = inspect.signature(layer_class(declared.layer).__init__).parameters
    for name, field in type(block).model_fields.items():
        theirs = known[name].default if name in known else inspect.Parameter.empty
        # A default of None says that nothing was given: the layer may know better then.
        ours = inspect.Parameter.empty if field.is_required() else _plain(field.default)
        open_ = (inspect.Parameter.empty, None)
        if ours not in open_ and theirs is not inspect.Parameter.empty and _plain(theirs) != ours:
            raise Unfit(f"`{name}` is {ours!r} by default here, {theirs!r} in the layer")


def undocumented(block: type) -> list[str]:
    """What the pages about a block lack: its sentence, those of its parameters."""
    fields: Mapping[str, Any] = block.model_fields  # type: ignore[attr-defined]
    missing = [] if "__doc__" in vars(block) and block.__doc__ else ["the class has no docstring"]
    return missing + [
        f"`{n}` has no docstring" for n, field in fields.items() if not field.description
    ]


def check_arguments(example: Example) -> None:
    """`args` gives keyword arguments of the layer, plain enough to be written into a file."""
    args = example.block.args(*example.inputs)
    for name, value in args.items():
        try:
            same = ast.literal_eval(repr(value)) == value
        except (ValueError, SyntaxError):
            same = False
        if not same:
            raise Unfit(f"args: `{name}` is {value!r}; a file holds numbers, texts, lists, maps")
    layer = reported("the layer can't be made from args", example.layer)
    if not isinstance(layer, nn.Module):
        raise Unfit(f"the layer is {type(layer).__name__}, no torch nn.Module")


def check_shapes(example: Example) -> None:
    """On the meta device the outputs have the shapes that `infer` gives, at two batch sizes."""
    inferred = example.outputs()
    if example.block.is_loss and [shape.dims for shape in inferred] != [()]:
        raise Unfit(f"is_loss: the output is one number, Shape(()), not {inferred[0]}")
    for batch in BATCHES:
        outputs = reported(f"on the meta device, {batch} rows", partial(_on_meta, example, batch))
        if len(outputs) != len(inferred):
            raise Unfit(f"infer gives {len(inferred)} outputs, the layer {len(outputs)}")
        for number, (output, shape) in enumerate(zip(outputs, inferred, strict=True)):
            _compare_shape(output, shape, batch, f"output {number}" if number else "the output")


def _on_meta(example: Example, batch: int) -> list[Value]:
    with torch.device("meta"):
        return call(example.layer(), [_empty(shape, batch) for shape in example.inputs])


def _empty(shape: Shape, batch: int) -> Value:
    if not shape.is_jagged:
        return torch.empty([batch, *shape.dims[1:]])  # type: ignore[list-item]
    lengths = torch.empty(batch, dtype=torch.int64)
    return Jagged(torch.empty([STEPS, *shape.dims[2:]]), lengths)  # type: ignore[list-item]


def _compare_shape(output: Value, shape: Shape, batch: int, what: str) -> None:
    if isinstance(output, Jagged) != shape.is_jagged:
        wanted = "a Jagged (values [T, D], lengths [B])" if shape.is_jagged else "a tensor"
        raise Unfit(f"infer gives {shape}, so {what} is {wanted}; got {type(output).__name__}")
    if not isinstance(values_of(output), Tensor):
        raise Unfit(f"{what} is {type(output).__name__}, no tensor")
    sizes = [STEPS, *shape.dims[2:]] if shape.is_jagged else [batch, *shape.dims[1:]]
    expected = sizes if shape.dims else []
    actual = list(values_of(output).shape)
    if actual != expected:
        steps = f" and {STEPS} steps" if shape.is_jagged else ""
        raise Unfit(
            f"{what}: infer gives {shape}, at {batch} rows{steps} that is {expected};"
            f" the layer gives {actual}"
        )


def check_keys(example: Example) -> None:
    """Two layers of one declaration have the same state_dict, of what a checkpoint can hold."""
    for key, why in unsaved(example.layer().state_dict()).items():
        raise Unfit(f"`{key}` can't be saved in a checkpoint: {why}")
    first, second = (
        {key: tuple(value.shape) for key, value in example.layer().state_dict().items()}
        for _ in range(2)
    )
    if list(first.items()) != list(second.items()):
        raise Unfit(f"two layers, two state_dicts: {_difference(first, second)}")


def _difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    keys = [*first, *(key for key in second if key not in first)]
    odd = [key for key in keys if first.get(key) != second.get(key)]
    return ", ".join(f"{k} {first.get(k)} and {second.get(k)}" for k in odd) or "another order"


def check_reset(example: Example) -> None:
    """`reset_parameters()` draws every weight anew, and every weight is used."""
    layer = example.layer()
    if not list(layer.parameters()):
        raise Skipped("it has no weights")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(torch.nan)
    for part in layer.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
    left = [name for name, p in layer.named_parameters() if not bool(p.isfinite().all())]
    if left:
        raise Unfit(
            f"no reset_parameters() draws {', '.join(left)}: give the layer that owns"
            " them one, it is called once under the node's own seed"
        )
    outputs = call(layer.double(), tensors(example.inputs, example.lengths))
    terms = [(values_of(o) * torch.randn_like(values_of(o))).sum() for o in outputs]
    torch.stack(terms).sum().backward()  # type: ignore[no-untyped-call]
    unused = [name for name, p in layer.named_parameters() if p.requires_grad and p.grad is None]
    if unused:
        raise Unfit(f"no output depends on {', '.join(unused)}")


def check_inputs(example: Example) -> None:
    """The layer leaves its inputs as they are: other nodes read them too."""
    layer, inputs = smooth(example), tensors(example.inputs, example.lengths)
    before = [values_of(x).clone() for x in inputs]
    call(layer, inputs)
    for name, x, old in zip(example.input_names, inputs, before, strict=True):
        if not torch.equal(values_of(x), old):
            raise Unfit(f"the layer writes into its input `{name}`, which other nodes read too")


CHECKS: Mapping[str, Callable[[Example], None]] = {
    "declaration": check_declaration,
    "arguments": check_arguments,
    "shapes": check_shapes,
    "gradients": check_gradients,
    "rows": check_rows,
    "padding": check_padding,
    "batches": check_batches,
    "inputs": check_inputs,
    "keys": check_keys,
    "reset": check_reset,
    "updates": check_updates,
    "checkpoint": check_checkpoint,
    "kernels": check_kernels,
}
"""Every check by its name."""


def _plain(value: Any) -> Any:
    """Tuples as lists, for comparison."""
    return json.loads(json.dumps(value)) if isinstance(value, tuple | list) else value
