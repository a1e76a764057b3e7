"""`TritonMMoE`, `TritonPLE` and their operators in an ordinary process: the torch path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.library import opcheck

from graphrec.kernels import TritonMMoE, TritonPLE
from graphrec.kernels.ops.experts import experts_act, experts_act_backward
from graphrec.kernels.ops.mix import mix_experts, mix_experts_backward
from graphrec.kernels.ops.reference import FROM_INPUT, FUSED
from graphrec.nn import PLE, MMoE
from graphrec.nn.prepare import prepare

sys.path.insert(0, str(Path(__file__).resolve().parent))
from twins import near_on_a_gpu, results, twins

BLOCKS = [
    (TritonMMoE, MMoE, (6, 3, [8, 5], ["a", "b"])),
    (TritonMMoE, MMoE, (6, 3, [8, 5], ["a", "b"], [4])),
    (TritonPLE, PLE, (6, 2, ["a", "b"], 2, 1, [8, 5])),
    (TritonPLE, PLE, (6, 2, ["a", "b"], [1, 2], 2, [[8, 5], [4]], [[5], [3, 4]])),
]
each_block = pytest.mark.parametrize(("twin", "plain", "arguments"), BLOCKS)


@each_block
@pytest.mark.parametrize("act", FUSED)
def test_the_same_as_the_layer(twin, plain, arguments, act) -> None:
    ours, theirs = twins(twin, plain, *arguments, activation=act)
    x = torch.randn(7, 6)
    torch.testing.assert_close(results(ours, x), results(theirs, x))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("act", ["none", "tanh", "gelu"])
@pytest.mark.parametrize(("slots", "per"), [(1, 1), (3, 1), (2, 1), (2, 2)])
def test_the_experts_operator_keeps_torchs_rules(act, slots, per) -> None:
    torch.manual_seed(0)
    shapes = (5, slots, 3), (3, 4, 3), (3, 4)
    x, weight, bias = (torch.randn(s, requires_grad=True) for s in shapes)
    slots_first = x.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    opcheck(experts_act, (x, weight, bias, per, act, True))
    opcheck(experts_act, (slots_first, weight, None, per, act, True))
    y, z = (t.detach() for t in experts_act(x, weight, bias, per, act, True))
    kept = z if act in FROM_INPUT else y
    for needs in ((True, True, True), (False, True, False), (True, False, False)):
        inputs = (torch.randn_like(y), x.detach(), weight.detach(), kept, per, act, *needs)
        opcheck(experts_act_backward, inputs)


@pytest.mark.parametrize(("tasks", "private"), [(0, 0), (2, 1), (3, 1)])
def test_the_mixing_operator_keeps_torchs_rules(tasks, private) -> None:
    logits, experts = torch.randn(5, 3, 6), torch.randn(5, 4, 7)
    opcheck(mix_experts, (logits.requires_grad_(), experts.requires_grad_(), tasks, private))
    inputs = (torch.randn(3, 5, 7), logits.detach(), experts.detach(), tasks, private)
    opcheck(mix_experts_backward, inputs)
    wide = (logits.detach().double(), experts.detach().double())
    wide = tuple(t.requires_grad_() for t in wide)
    assert torch.autograd.gradcheck(lambda *args: mix_experts(*args, tasks, private), wide)


def test_nothing_is_kept_without_a_gradient() -> None:
    x, weight = torch.randn(5, 1, 3), torch.randn(2, 4, 3, requires_grad=True)
    with torch.no_grad():
        assert experts_act(x, weight, None, 1, "silu", False)[1].numel() == 0
    with pytest.raises(RuntimeError, match="a gradient through `silu` needs save=True"):
        experts_act(x, weight, None, 1, "silu", False)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"act": "dice"}, "no activation `dice`; it has gelu, leaky_relu, none, relu"),
        ({"x": torch.randn(5, 1, 2)}, r"x \(5, 1, 2\) and weight \(2, 4, 3\)"),
        ({"x": torch.randn(5, 3, 3)}, "2 experts, 1 for a slot, 3 slots"),
        ({"per": 0}, "2 experts, 0 for a slot, 1 slots"),
        ({"bias": torch.randn(3)}, r"bias \(3,\), weight \(2, 4, 3\)"),
        ({"x": torch.randn(5, 1, 3).double()}, "x is torch.float64, weight torch.float32"),
    ],
)
def test_wrong_arguments_of_the_experts(changed, said) -> None:
    right = {"x": torch.randn(5, 1, 3), "weight": torch.randn(2, 4, 3), "bias": torch.randn(2, 4)}
    right |= {"per": 1, "act": "relu", "save": True}
    with pytest.raises(ValueError, match=said):
        experts_act(**(right | changed))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"logits": torch.randn(4, 3, 6)}, r"logits \(4, 3, 6\), experts \(5, 4, 7\)"),
        ({"tasks": 4}, "4 x 1 private ones of 4 experts"),
        ({"tasks": 3, "private": 2}, "3 x 2 private ones of 4 experts"),
        ({"logits": torch.randn(5, 3, 2)}, "a gate sees 4 experts by 2 logits"),
        ({"logits": torch.randn(5, 3, 6).double()}, "logits are torch.float64"),
    ],
)
def test_wrong_arguments_of_the_mixing(changed, said) -> None:
    right = {"logits": torch.randn(5, 3, 6), "experts": torch.randn(5, 4, 7)}
    with pytest.raises(ValueError, match=said):
        mix_experts(**(right | {"tasks": 0, "private": 1} | changed))


@each_block
def test_compile(twin, plain, arguments) -> None:
    ours, theirs = twins(twin, plain, *arguments, activation="silu")
    x = torch.randn(5, 6)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(results(compiled, x), results(theirs, x))


@each_block
def test_export_with_any_number_of_rows(twin, plain, arguments) -> None:
    ours, theirs = twins(twin, plain, *arguments, activation="gelu")
    rows = torch.export.Dim("rows", min=2, max=4096)
    program = torch.export.export(ours.eval(), (torch.randn(5, 6),), dynamic_shapes=({0: rows},))
    text = str(program.graph)
    assert "graphrec.experts_act" in text and "graphrec.mix_experts" in text
    x = torch.randn(37, 6)
    torch.testing.assert_close(program.module()(x), theirs(x))


@each_block
def test_meta_tensors(twin, plain, arguments) -> None:
    with torch.device("meta"):
        module = twin(*arguments)
        assert [y.shape[0] for y in module(torch.empty(83, 6))] == [83, 83]


@each_block
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_experts_prepared_for_inference(twin, plain, arguments, dtype) -> None:
    ours, theirs = twins(twin, plain, *arguments)
    x = torch.randn(5, 6)
    got = prepare(ours, dtype)(x)
    assert all(y.dtype == torch.float32 for y in got)
    torch.testing.assert_close(got, prepare(theirs, dtype)(x), rtol=0.05, atol=0.05)


def test_autocast() -> None:
    for twin, plain, arguments in BLOCKS:
        ours, theirs = twins(twin, plain, *arguments)
        x = torch.randn(5, 6)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y, wanted = torch.stack(ours(x)), torch.stack(theirs(x))
        assert y.dtype == torch.bfloat16
        torch.testing.assert_close(y.float(), wanted.float(), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"norm": "layer"}, "TritonMMoE has no norm and no dropout"),
        ({"dropout": 0.1}, "TritonMMoE has no norm and no dropout"),
        (
            {"activation": "dice"},
            "TritonMMoE has no activation `dice`; it has gelu, leaky_relu, none, relu",
        ),
        ({"gate_hidden": [4], "gate_norm": "batch"}, "TritonMMoE has no norm"),
    ],
)
def test_what_it_has_not_is_refused(options, said) -> None:
    with pytest.raises(ValueError, match=said):
        TritonMMoE(6, 3, [8, 5], ["a", "b"], **options)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@each_block
def test_experts_on_a_gpu(twin, plain, arguments, dtype) -> None:
    ours, theirs = twins(twin, plain, *arguments, activation="silu")
    near_on_a_gpu(ours, theirs, [torch.randn(300, 6)], dtype)


@each_block
def test_experts_that_are_left_out_are_refused(twin, plain, arguments) -> None:
    with pytest.raises(ValueError, match="has no expert_dropout"):
        twin(*arguments, expert_dropout=0.1)
