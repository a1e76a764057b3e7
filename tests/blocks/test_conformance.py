"""Every block keeps its word: the shapes it infers, its arguments, its gradients, its rows."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.export import Dim

from graphrec.blocks import PRIMITIVES
from graphrec.nn import Jagged
from graphrec.shapes import Shape

sys.path.insert(0, str(Path(__file__).parent))
from examples import EXAMPLES, Example, call, layer_class, tensors

LENGTHS = (4, 0, 1, 7, 2)
every = pytest.mark.parametrize("example", EXAMPLES, ids=[e.name for e in EXAMPLES])
WITH_WEIGHTS = [e for e in EXAMPLES if list(e.layer().parameters())]
POOLED = [e for e in EXAMPLES if e.inputs[0].is_jagged or e.inputs[-1].is_jagged]
POOLED = [e for e in POOLED if not e.outputs()[0].is_jagged]
MASKED = [e for e in EXAMPLES if "keys" in [port.name for port in e.configured.ports()]]
# A batch norm mixes rows on purpose; it is looked at in evaluation.
TRAINED = [e for e in EXAMPLES if e.params.get("norm") != "batch" and "dice" not in e.name]


def lengths_of(example: Example) -> list[int]:
    """Histories that fit the example's windows."""
    fits = example.block != "multi_window_din" or "keep" in example.params
    return list(LENGTHS) if fits else [min(n, sum(example.params["windows"])) for n in LENGTHS]


def values_of(x: Tensor | Jagged) -> Tensor:
    return x.values if isinstance(x, Jagged) else x


def smooth(example: Example) -> torch.nn.Module:
    """The layer with weights away from the corners of ReLU, in double precision."""
    torch.manual_seed(1)
    layer = example.layer().double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return layer


def test_no_block_is_missing() -> None:
    assert {e.block for e in EXAMPLES} == {block.block_name for block in PRIMITIVES}
    names = [block.block_name for block in PRIMITIVES]
    assert names == sorted(names)
    assert len({e.name for e in EXAMPLES}) == len(EXAMPLES)


@pytest.mark.parametrize("block", PRIMITIVES, ids=lambda block: block.block_name)
def test_parameters_are_documented_and_default_alike(block: type) -> None:
    assert block.__doc__
    declared = block.kernel("torch")
    known = inspect.signature(layer_class(declared.layer).__init__).parameters
    for name, field in block.model_fields.items():
        assert field.description, f"{name} has no docstring"
        if not field.is_required() and name in known:
            default = field.default
            default = list(default) if isinstance(default, tuple) else default
            theirs = known[name].default
            if name == "reduction" and default is None:  # said as None to see that none was given
                continue
            theirs = list(theirs) if isinstance(theirs, tuple) else theirs
            if theirs is inspect.Parameter.empty:
                continue
            assert theirs == default, name


@every
@pytest.mark.parametrize("batch", [83, 89])
def test_shapes_are_as_inferred(example: Example, batch: int) -> None:
    num_steps = 200
    with torch.device("meta"):
        layer = example.layer()
        inputs: list[Tensor | Jagged] = []
        for shape in example.inputs:
            sizes = [num_steps if d == shape.dims[1] and shape.is_jagged else d for d in shape.dims]
            if shape.is_jagged:
                lengths = torch.empty(batch, dtype=torch.int64)
                inputs.append(Jagged(torch.empty(num_steps, *sizes[2:]), lengths))
            else:
                inputs.append(torch.empty(batch, *sizes[1:]))
        outputs = call(layer, inputs)
    inferred = example.outputs()
    assert len(outputs) == len(inferred)
    for output, shape in zip(outputs, inferred, strict=True):
        expected: tuple[object, ...] = (batch, *shape.dims[1:])
        if shape.is_jagged:
            assert isinstance(output, Jagged)
            expected = (num_steps, *shape.dims[2:])
        assert tuple(values_of(output).shape) == expected


@every
def test_gradients_are_right(example: Example) -> None:
    layer = smooth(example)
    inputs = tensors(example, lengths_of(example))
    leaves = [values_of(x).requires_grad_() for x in inputs]
    weights = dict(layer.named_parameters())

    def run(*values: Tensor) -> tuple[Tensor, ...]:
        made = [
            x.replace(v) if isinstance(x, Jagged) else v
            for x, v in zip(inputs, values[: len(inputs)], strict=True)
        ]
        named = dict(zip(weights, values[len(inputs) :], strict=True))
        result = torch.func.functional_call(layer, named, tuple(made))
        outputs = result if isinstance(result, tuple) else (result,)
        return tuple(values_of(output) for output in outputs)

    values = (*leaves, *weights.values())
    # Running statistics would move from one evaluation to the next.
    layer.eval()
    if example.block in ("epnet", "ppnet"):  # they stop a gradient on purpose
        assert torch.autograd.gradcheck(
            lambda *w: run(*[v.detach() for v in leaves], *w),
            values[len(leaves) :],
            fast_mode=True,
        )
    else:
        assert torch.autograd.gradcheck(run, values, fast_mode=True)


@pytest.mark.parametrize("example", TRAINED, ids=[e.name for e in TRAINED])
def test_rows_stand_for_themselves(example: Example) -> None:
    layer = smooth(example)
    lengths = lengths_of(example)
    inputs = tensors(example, lengths)
    whole = [as_rows(output, lengths) for output in call(layer, inputs)]
    order = [3, 1, 4, 0, 2]
    picked = call(layer, [take(x, order, lengths) for x in inputs])
    for rows, output in zip(whole, picked, strict=True):
        again = as_rows(output, [lengths[i] for i in order])
        for place, row in enumerate(order):
            torch.testing.assert_close(again[place], rows[row], rtol=1e-9, atol=1e-11)
    for row in range(len(lengths)):
        alone = call(layer, [take(x, [row], lengths) for x in inputs])
        for rows, output in zip(whole, alone, strict=True):
            only = as_rows(output, [lengths[row]])[0]
            torch.testing.assert_close(only, rows[row], rtol=1e-9, atol=1e-11)


def as_rows(x: Tensor | Jagged, lengths: list[int]) -> list[Tensor]:
    return list(x.values.split(lengths)) if isinstance(x, Jagged) else list(x)


def take(x: Tensor | Jagged, rows: list[int], lengths: list[int]) -> Tensor | Jagged:
    if not isinstance(x, Jagged):
        return x[rows]
    pieces = x.values.split(lengths)
    values = torch.cat([pieces[row] for row in rows])
    return Jagged(values, torch.tensor([lengths[row] for row in rows]))


@every
@pytest.mark.parametrize("lengths", [[0, 0, 0], [1, 1, 1], [0], [3, 3], []], ids=str)
def test_any_lengths_give_finite_gradients(example: Example, lengths: list[int]) -> None:
    layer = smooth(example)
    inputs = tensors(example, lengths)
    leaves = [values_of(x).requires_grad_() for x in inputs]
    outputs = call(layer, inputs)
    total = sum(values_of(output).sum() for output in outputs)
    assert isinstance(total, Tensor)
    total.backward()
    for leaf in (*leaves, *layer.parameters()):
        assert leaf.grad is None or bool(leaf.grad.isfinite().all())
    assert bool(total.isfinite())


@pytest.mark.parametrize("example", POOLED, ids=[e.name for e in POOLED])
def test_histories_without_steps_give_zeros(example: Example) -> None:
    layer = smooth(example)
    output = call(layer, tensors(example, [0, 2, 0]))[0]
    width = example.inputs[-1].width
    seen = output[:, :-width] if example.block == "multi_window_din" else output
    assert not seen[[0, 2]].any()
    assert seen[1].any()


@pytest.mark.parametrize("example", POOLED, ids=[e.name for e in POOLED])
def test_it_exports_for_any_batch(example: Example) -> None:
    layer = smooth(example).eval()
    inputs = tensors(example, lengths_of(example))
    sizes = [
        [{0: Dim.DYNAMIC}, {0: Dim.DYNAMIC}, None] if isinstance(x, Jagged) else {0: Dim.DYNAMIC}
        for x in inputs
    ]
    exported = torch.export.export(layer, tuple(inputs), dynamic_shapes=tuple(sizes), strict=False)
    others = tensors(example, [2, 0, 3, 3, 1, 0, 2], seed=5)
    torch.testing.assert_close(exported.module()(*others), layer(*others))


@every
def test_two_of_a_kind_have_the_same_keys(example: Example) -> None:
    first, second = example.layer().state_dict(), example.layer().state_dict()
    assert list(first) == list(second)
    assert [v.shape for v in first.values()] == [v.shape for v in second.values()]


@pytest.mark.parametrize("example", WITH_WEIGHTS, ids=[e.name for e in WITH_WEIGHTS])
def test_every_parameter_is_reset_and_used(example: Example) -> None:
    layer = example.layer()
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(torch.nan)
    for part in layer.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    assert all(bool(p.isfinite().all()) for p in layer.parameters())
    assert before.keys() == dict(layer.named_parameters()).keys()
    outputs = call(layer.double(), tensors(example, lengths_of(example)))
    sum((values_of(o) * torch.randn_like(values_of(o))).sum() for o in outputs).backward()
    assert [name for name, p in layer.named_parameters() if p.grad is None] == []


@every
def test_the_declaration_survives_json(example: Example) -> None:
    configured = example.configured
    assert type(configured).model_validate_json(configured.model_dump_json()) == configured
    assert hash(configured.model_dump_json()) == hash(example.configured.model_dump_json())


@pytest.mark.parametrize("example", MASKED, ids=[e.name for e in MASKED])
def test_a_mask_of_another_history_is_refused(example: Example) -> None:
    block = example.configured
    keys = example.inputs[-1]
    right = Shape(keys.dims[:2], "bool")
    assert block.infer(*example.inputs, right) == block.infer(*example.inputs)
    with pytest.raises(ValueError, match="needs a mask of the same sequence"):
        block.infer(*example.inputs, Shape(("B", "L.other"), "bool"))
