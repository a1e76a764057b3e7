"""`StackedMMoE` and `StackedPLE` compute what the plain layers do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from graphrec.kernels import StackedMMoE, StackedPLE
from graphrec.kernels.ops.reference import FUSED
from graphrec.nn import PLE, MMoE
from graphrec.nn.prepare import prepare

sys.path.insert(0, str(Path(__file__).resolve().parent))
from twins import results, twins

TASKS = ["a", "b", "c"]
BLOCKS = [
    (StackedMMoE, MMoE, (6, 3, [8, 5], TASKS), {}),
    (StackedMMoE, MMoE, (6, 1, [8], TASKS), {"bias": False}),
    (StackedMMoE, MMoE, (6, 3, [8, 5, 4], TASKS[:1]), {}),
    (StackedMMoE, MMoE, (6, 3, [8, 5], TASKS), {"gate_hidden": [4, 3], "gate_bias": False}),
    (StackedPLE, PLE, (6, 1, TASKS, 1, 1, [8]), {}),
    (StackedPLE, PLE, (6, 2, TASKS, 2, 3, [8, 5]), {"bias": False}),
    (StackedPLE, PLE, (6, 2, TASKS[:1], 2, 1, [8, 5]), {}),
    (StackedPLE, PLE, (6, 3, TASKS, [1, 2, 1], 2, [[8, 5], [4], [3]], [[5], [3, 4], [3]]), {}),
]
each_block = pytest.mark.parametrize(("twin", "plain", "arguments", "options"), BLOCKS)


@each_block
@pytest.mark.parametrize("rows", [0, 1, 37])
def test_stacked_is_the_same(twin, plain, arguments, options, rows) -> None:
    ours, theirs = (m.double() for m in twins(twin, plain, *arguments, **options))
    x = torch.randn(rows, 6, dtype=torch.float64)
    torch.testing.assert_close(results(ours, x), results(theirs, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("act", FUSED)
def test_stacked_with_every_activation(act) -> None:
    for twin, plain, arguments, options in (BLOCKS[0], BLOCKS[5]):
        ours, theirs = twins(twin, plain, *arguments, **{**options, "activation": act})
        x = torch.randn(9, 6)
        torch.testing.assert_close(results(ours, x), results(theirs, x))


@each_block
def test_stacked_gradients_by_differences(twin, plain, arguments, options) -> None:
    module = twin(*arguments, **{**options, "activation": "tanh"}).double()
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, x)


@each_block
def test_stacked_with_autocast_meta_and_export(twin, plain, arguments, options) -> None:
    ours, theirs = twins(twin, plain, *arguments, **options)
    x = torch.randn(5, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, wanted = ours(x), theirs(x)
    torch.testing.assert_close(y, wanted, rtol=0.05, atol=0.05)
    rows = torch.export.Dim("rows", min=2, max=4096)
    program = torch.export.export(ours.eval(), (x,), dynamic_shapes=({0: rows},))
    x = torch.randn(37, 6)
    torch.testing.assert_close(program.module()(x), theirs(x))
    shapes = [y.shape for y in ours(x)]
    assert [y.shape for y in ours.to("meta")(x.to("meta"))] == shapes


def test_all_experts_of_a_layer_are_one_product() -> None:
    """Two layers of nine experts on the first level of PLE: one product each."""
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: list[str] = []

    class Spy(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(func.name())
            return func(*args, **(kwargs or {}))

    module = StackedPLE(6, 1, TASKS, 2, 3, [8, 5])
    with Spy(), torch.no_grad():
        module(torch.randn(4, 6))
    assert seen.count("aten::addmm") == 2  # the first layers, the gates
    assert seen.count("aten::baddbmm") == 1


@each_block
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_stacked_prepared_for_inference(twin, plain, arguments, options, dtype) -> None:
    ours, theirs = twins(twin, plain, *arguments, **options)
    x = torch.randn(5, 6)
    got = prepare(ours, dtype)(x)
    assert all(y.dtype == torch.float32 for y in got)
    torch.testing.assert_close(got, prepare(theirs, dtype)(x), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("options", [{"norm": "layer"}, {"dropout": 0.5}, {"activation": "prelu"}])
def test_stacked_refuses_what_it_has_not(options) -> None:
    with pytest.raises(ValueError, match="StackedPLE has no"):
        StackedPLE(6, 2, TASKS, 1, 1, [4], **options)
    with pytest.raises(ValueError, match="StackedMMoE has no"):
        StackedMMoE(6, 2, [4], TASKS, **options)


def test_large_products_one_by_one(monkeypatch) -> None:
    monkeypatch.setattr("graphrec.kernels.stacked.goes_to_onednn", lambda x, weight: True)
    for twin, plain, arguments, options in BLOCKS:
        ours, theirs = twins(twin, plain, *arguments, **options)
        x = torch.randn(9, 6)
        torch.testing.assert_close(results(ours, x), results(theirs, x))
