"""Every block keeps its word: the shapes it infers, its arguments, its gradients, its rows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.export import Dim

from graphrec.blocks import PRIMITIVES
from graphrec.ground.shapes import Shape
from graphrec.nn import Jagged
from graphrec.verify.block import CHECKS, Skipped, call, tensors
from graphrec.verify.block.block_checks import undocumented
from graphrec.verify.block.verdict import smooth

sys.path.insert(0, str(Path(__file__).parent))
from examples import EXAMPLES, Example

every = pytest.mark.parametrize("example", EXAMPLES, ids=[e.name for e in EXAMPLES])
POOLED = [e for e in EXAMPLES if e.inputs[0].is_jagged or e.inputs[-1].is_jagged]
POOLED = [e for e in POOLED if not e.subject.outputs()[0].is_jagged]
MASKED = [
    e for e in EXAMPLES if {"keys", "mask"} <= {port.name for port in e.subject.block.ports()}
]


def test_no_block_is_missing() -> None:
    assert {e.block for e in EXAMPLES} == {block.block_name for block in PRIMITIVES}
    names = [block.block_name for block in PRIMITIVES]
    assert names == sorted(names)
    assert len({e.name for e in EXAMPLES}) == len(EXAMPLES)


@pytest.mark.parametrize("block", PRIMITIVES, ids=lambda block: block.block_name)
def test_blocks_and_parameters_are_documented(block: type) -> None:
    assert undocumented(block) == []


@pytest.mark.parametrize("check", CHECKS)
@every
def test_it_conforms(example: Example, check: str) -> None:
    subject = example.subject
    try:
        CHECKS[check](subject)
    except Skipped:
        nothing_to_see = {
            "padding": not subject.has_history or subject.block.is_loss,
            "reset": not list(subject.layer().parameters()),
            "updates": not list(subject.layer().parameters()),
            "checkpoint": not subject.layer().state_dict(),
            "kernels": len(subject.block.kernels) == 1 or not torch.cuda.is_available(),
        }
        assert nothing_to_see.get(check, False)


@pytest.mark.parametrize("example", POOLED, ids=[e.name for e in POOLED])
def test_histories_without_steps_give_zeros(example: Example) -> None:
    if example.block == "hstu" and len(example.inputs) > 1:
        pytest.skip("the candidate has a state of its own, whatever came before")
    output = call(smooth(example.subject), tensors(example.inputs, [0, 2, 0]))[0]
    assert isinstance(output, torch.Tensor)
    width = example.inputs[-1].width
    seen = output[:, :-width] if example.block == "multi_window_din" else output
    assert not seen[[0, 2]].any()
    assert seen[1].any()


@pytest.mark.parametrize("example", POOLED, ids=[e.name for e in POOLED])
def test_it_exports_for_any_batch(example: Example) -> None:
    layer = smooth(example.subject).eval().requires_grad_(False)  # as a run is prepared
    inputs = tensors(example.inputs, example.subject.lengths)
    sizes = [
        [{0: Dim.DYNAMIC}, {0: Dim.DYNAMIC}, None] if isinstance(x, Jagged) else {0: Dim.DYNAMIC}
        for x in inputs
    ]
    exported = torch.export.export(layer, tuple(inputs), dynamic_shapes=tuple(sizes), strict=False)
    others = tensors(example.inputs, [2, 0, 3, 3, 1, 0, 2], seed=5)
    torch.testing.assert_close(exported.module()(*others), layer(*others))


@pytest.mark.parametrize("example", MASKED, ids=[e.name for e in MASKED])
def test_a_mask_of_another_history_is_refused(example: Example) -> None:
    block = example.subject.block
    keys = next(shape for shape in example.inputs if shape.rank == 3)
    right = Shape(keys.dims[:2], "bool")
    assert block.infer(*example.inputs, mask=right) == block.infer(*example.inputs)
    with pytest.raises(ValueError, match="needs a mask of the same sequence"):
        block.infer(*example.inputs, mask=Shape(("B", "L.other"), "bool"))


@every
def test_a_block_counts_its_weights(example: Example) -> None:
    """Exactly, so that a model that no memory holds is refused before anything is allocated."""
    subject = example.subject
    counted = subject.block.parameters(*example.inputs)
    assert counted == sum(weight.numel() for weight in subject.layer().parameters())
    assert not subject.block.is_pure or counted == 0
