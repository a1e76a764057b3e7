"""The kernels of `experts_act`, and the twins of MMoE and PLE, run by Triton's interpreter."""

from __future__ import annotations

import pytest
import torch
from agreement import check_twin
from interpreter_watch import watch

from graphrec.kernels import TritonMMoE, TritonPLE
from graphrec.kernels.ops.experts import experts_act, experts_act_backward
from graphrec.kernels.ops.reference import FUSED
from graphrec.kernels.triton import experts as triton_experts
from graphrec.kernels.triton.tiles import Tile
from graphrec.nn import PLE, MMoE

TASKS = ["a", "b", "c"]
# Slots, experts, experts for each slot: shared, own, levels of PLE with one and two private ones.
SLOTS = [(1, 3, 1), (1, 1, 1), (3, 3, 1), (4, 4, 1), (4, 5, 1), (3, 5, 2), (3, 8, 2)]


def check_mmoe(rows: int, *args, dtype: torch.dtype = torch.float64, **options) -> None:
    torch.manual_seed(2)
    x = torch.randn(rows, args[0])
    check_twin(lambda kind: kind(*args, **options), TritonMMoE, MMoE, [x], dtype)


def check_ple(rows: int, *args, dtype: torch.dtype = torch.float64, **options) -> None:
    torch.manual_seed(2)
    x = torch.randn(rows, args[0])
    # Two levels are up to eight layers, each with an error of its own.
    limit = None if dtype == torch.float64 else {torch.float32: 1e-5}.get(dtype, 5e-2)
    check_twin(lambda kind: kind(*args, **options), TritonPLE, PLE, [x], dtype, limit)


def reference(x, weight, bias, per):
    slots = [min(e // per, x.shape[1] - 1) for e in range(len(weight))]
    z = [x[:, s] @ w.t() for s, w in zip(slots, weight, strict=True)]
    return torch.stack(z, dim=1) + (0 if bias is None else bias)


@pytest.mark.parametrize("act", FUSED)
def test_every_activation_in_fp32(act, launches) -> None:
    check_mmoe(37, 19, 3, [20, 17], TASKS, activation=act, dtype=torch.float32)
    forward = ["experts_kernel", "experts_kernel", "experts_kernel", "mix_kernel"]
    slopes = ["experts_slope_kernel", "column_sum_kernel"] * 3
    assert sorted(launches) == sorted([*forward, "mix_backward_kernel", *slopes])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("act", ["relu", "gelu"])
def test_low_precision(act, dtype) -> None:
    check_mmoe(33, 40, 2, [48], ["a"], activation=act, dtype=dtype)
    check_ple(33, 32, 1, TASKS, 1, 1, [48], activation=act, dtype=dtype)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("names", [TASKS[:1], TASKS])
@pytest.mark.parametrize("hidden", [[33], [5, 16], [48, 32, 1]])
def test_mmoe(count, names, hidden) -> None:
    check_mmoe(35, 17, count, hidden, names)


def test_mmoe_with_other_options() -> None:
    check_mmoe(9, 17, 3, [20], TASKS, gate_hidden=[7, 5], gate_activation="silu", bias=False)
    check_mmoe(1, 1, 1, [1], ["a"], gate_hidden=[1], gate_bias=False)


@pytest.mark.parametrize(
    "sizes",
    [
        (1, 1, 1, [16]),
        (2, 2, 1, [20, 17]),
        (2, 1, 3, [[7, 9], [5]]),
        (3, [1, 2, 1], [2, 1, 1], [[20, 17], [5], [3]], [[7, 17], [5], [6, 3]]),
        (2, 2, 2, [8], [3, 8]),
    ],
)
@pytest.mark.parametrize("names", [TASKS[:1], TASKS])
def test_ple(sizes, names) -> None:
    levels, private, shared, *hidden = sizes
    check_ple(19, 18, levels, names, private, shared, *hidden, activation="tanh")


def test_ple_in_fp32(launches) -> None:
    check_ple(19, 18, 2, TASKS, 2, 1, [20, 17], dtype=torch.float32)
    # A level is one launch a layer for its experts, one for its gates, one that mixes.
    assert launches.count("experts_kernel") == 2 * 3
    assert launches.count("mix_kernel") == launches.count("mix_backward_kernel") == 2


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("slots", "count", "per"), SLOTS)
def test_slots_and_gradients(slots, count, per, bias) -> None:
    torch.manual_seed(0)
    shapes = [(35, slots, 17), (count, 33, 17), (count, 33)][: 2 + bias]
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    x, weight, b = (*inputs, None)[:3]
    y = experts_act(x, weight, b, per, "silu", True)[0]
    wanted = torch.nn.functional.silu(reference(x, weight, b, per))
    torch.testing.assert_close(y, wanted)
    along = torch.randn_like(y)
    ours, exact = (torch.autograd.grad(out, inputs, along) for out in (y, wanted))
    torch.testing.assert_close(ours, exact)


@pytest.mark.parametrize("act", FUSED)
def test_gradients_by_differences(act) -> None:
    torch.manual_seed(3)
    inputs = tuple(
        torch.randn(s, dtype=torch.float64, requires_grad=True)
        for s in ((3, 2, 3), (3, 2, 3), (3, 2))
    )
    assert torch.autograd.gradcheck(lambda *args: experts_act(*args, 1, act, True)[0], inputs)


@pytest.mark.parametrize("slots_first", [True, False])
def test_views_are_read_in_place(slots_first) -> None:
    torch.manual_seed(0)
    weight = torch.randn(3, 16, 32)
    wide = torch.randn(2, 9, 48) if slots_first else torch.randn(9, 2, 48)
    view = (wide.transpose(0, 1) if slots_first else wide)[..., 16:]
    for x in (view, view[:, :, 3:19].double().float(), view.transpose(0, 2).transpose(0, 2)):
        w = weight[..., : x.shape[2]]
        y = experts_act(x, w, None, 1, "none", False)[0]
        torch.testing.assert_close(y, reference(x, w, None, 1))
    assert triton_experts._aligned(view, 4) is view


def test_what_is_not_finite_does_not_pass_a_unit_that_is_off() -> None:
    grad = torch.tensor([[[float("nan"), 1.0], [float("inf"), 2.0]]])
    kept = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    dz, sums = triton_experts.backward(grad, kept, "relu", True)
    assert dz[..., :2].tolist() == [[[0, 1], [0, 2]]] and sums.tolist() == [[0, 1], [0, 2]]


def test_only_what_is_needed(launches) -> None:
    x, weight = torch.randn(5, 1, 8), torch.randn(2, 6, 8)
    grad = torch.randn(5, 2, 6)
    empty = experts_act_backward(grad, x, weight, grad, 1, "relu", False, False, False)
    assert [e.numel() for e in empty] == [0, 0, 0]
    assert experts_act(x, weight, None, 1, "gelu", False)[1].numel() == 0
    assert experts_act(x, weight, None, 1, "gelu", True)[1].shape == (5, 2, 6)


def test_no_rows() -> None:
    for module in (
        TritonMMoE(8, 3, [4], TASKS, activation="silu"),
        TritonPLE(8, 2, TASKS, 1, 2, [4]),
    ):
        x = torch.randn(0, 8, requires_grad=True)
        outputs = module(x)
        assert [y.shape for y in outputs] == [(0, 4)] * 3
        torch.cat(outputs).sum().backward()
        assert x.grad is not None and x.grad.shape == (0, 8)
        assert all(p.grad is None or not p.grad.any() for p in module.parameters())
        module(torch.randn(1, 8))


@pytest.mark.parametrize("rows", [1, 33])
def test_every_address_is_inside(rows) -> None:
    with watch():
        check_mmoe(rows, 17, 3, [33, 16], TASKS, activation="gelu")
        check_ple(rows, 18, 2, TASKS[:2], 2, 1, [20, 17], [5, 17])


def test_equal_runs_give_equal_bits() -> None:
    torch.manual_seed(0)
    module, x = TritonPLE(48, 2, TASKS, 2, 1, [33]), torch.randn(70, 48)
    first = torch.cat(module(x))
    assert torch.equal(first, torch.cat(module(x)))
    grad = torch.randn(70, 3, 33)
    tiles = Tile(16, 32, 0, 4, 1), Tile(64, 16, 0, 4, 1)
    (dz, sums), (other, other_sums) = (
        triton_experts.backward(grad, grad, "silu", True, tile) for tile in tiles
    )
    assert torch.equal(dz, other)
    torch.testing.assert_close(sums, other_sums)


def test_a_production_shape() -> None:
    """With huge tiles, because the interpreter's cost is per operation."""
    torch.manual_seed(0)
    x, weight, bias = torch.randn(1000, 3, 200), torch.randn(6, 256, 200) / 14, torch.randn(6, 256)
    y, z = triton_experts.forward(x, weight, bias, 2, "gelu", True, Tile(512, 256, 256, 8, 1))
    exact = reference(x.double(), weight.double(), bias.double(), 2)
    assert ((z - exact).norm() / exact.norm()).item() < 2e-6
    exact = torch.nn.functional.gelu(exact)
    assert ((y - exact).norm() / exact.norm()).item() < 2e-6


def test_autocast_reaches_the_kernel() -> None:
    torch.manual_seed(0)
    module, plain = TritonMMoE(32, 3, [24], TASKS), MMoE(32, 3, [24], TASKS)
    plain.load_state_dict(module.state_dict())
    x = torch.randn(20, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = torch.stack(module(x))
    assert y.dtype == torch.bfloat16
    wanted = torch.stack(plain(x))
    assert ((y - wanted).norm() / wanted.norm()).item() < 1.2e-2
