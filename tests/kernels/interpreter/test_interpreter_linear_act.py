"""The kernels of `linear_act`, run by Triton's interpreter through the public layer."""

from __future__ import annotations

import pytest
import torch
from agreement import TOLERANCE, check_mlp, distances
from interpreter_watch import watch

from graphrec.kernels import TritonMLP
from graphrec.kernels.ops.linear_act import linear_act, linear_act_backward
from graphrec.kernels.ops.reference import FUSED
from graphrec.kernels.triton import linear_act as triton_linear_act
from graphrec.kernels.triton.gemm import MOST_PROGRAMS
from graphrec.kernels.triton.tiles import Tile
from graphrec.nn.batch import Jagged
from graphrec.nn.dense import MLP

# Rows, depth, columns: ones, exact tiles, one more than a tile, tails of the sum.
SHAPES = [
    (1, 1, 1),
    (5, 1, 33),
    (16, 16, 16),
    (32, 32, 32),
    (33, 65, 17),
    (37, 19, 45),
    (64, 40, 96),
]
each_act = pytest.mark.parametrize("act", FUSED)


def one_layer(depth: int, columns: int, act: str, bias: bool = True):
    return lambda kind: kind(depth, [columns], act, bias=bias)


@each_act
def test_every_activation_in_fp32(act, launches) -> None:
    check_mlp(one_layer(19, 45, act), rows=37)
    assert launches == ["forward_kernel", "slope_kernel", "column_sum_kernel"]


@each_act
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_activation_in_low_precision(act, dtype) -> None:
    check_mlp(one_layer(40, 48, act), rows=33, dtype=dtype)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("rows", "depth", "columns"), SHAPES)
def test_odd_shapes(rows, depth, columns, bias) -> None:
    # A sum of few products has no error to hide another in: fp64 sees every index mistake.
    check_mlp(one_layer(depth, columns, "silu", bias), rows=rows, dtype=torch.float64)


@each_act
def test_gradients_by_differences(act) -> None:
    torch.manual_seed(3)
    x, weight, bias = (
        torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((5, 3), (4, 3), (4,))
    )
    inputs = (x, weight, bias)
    assert torch.autograd.gradcheck(lambda *args: linear_act(*args, act, True)[0], inputs)


def test_a_stack_with_everything() -> None:
    for act in ("gelu", "relu"):
        check_mlp(lambda kind, a=act: kind(24, [40, 17], a, out=3), rows=50, tolerance=1e-5)


def test_no_rows() -> None:
    mlp = TritonMLP(8, [4], "silu")
    x = torch.randn(0, 8, requires_grad=True)
    mlp(x).sum().backward()
    assert mlp(x).shape == (0, 4)
    assert x.grad is not None and x.grad.shape == (0, 8)
    assert all(not p.grad.any() for p in mlp.parameters())
    mlp(torch.randn(1, 8))


def test_other_kinds_of_input(launches) -> None:
    torch.manual_seed(0)
    mlp, plain = TritonMLP(16, [20], "relu"), MLP(16, [20], "relu")
    plain.load_state_dict(mlp.state_dict())
    x = torch.randn(3, 7, 16)
    wide = torch.randn(9, 48)
    jagged = Jagged(torch.randn(5, 16), torch.tensor([2, 0, 3]))
    torch.testing.assert_close(mlp(x), plain(x))
    torch.testing.assert_close(mlp(wide[:, 16:32]), plain(wide[:, 16:32]))  # a view, not copied
    torch.testing.assert_close(mlp(wide[:, 3:19]), plain(wide[:, 3:19]))
    torch.testing.assert_close(mlp(x[:, 0].t().contiguous().t()), plain(x[:, 0]))
    torch.testing.assert_close(mlp(jagged).values, plain(jagged).values)
    assert launches == ["forward_kernel"] * 5


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy tells of each NaN it makes
def test_nan_and_infinity_pass_through() -> None:
    x = torch.tensor([[float("nan")], [float("inf")], [-float("inf")], [0.0]])
    weight = torch.ones(1, 1)
    # torch itself says nan for gelu(inf), where the limit is inf.
    for act in sorted({*FUSED} - {"gelu"}):
        y = linear_act(x, weight, None, act, False)[0]
        wanted = MLP(1, [1], act, bias=False)
        wanted.load_state_dict({"layers.0.weight": weight})
        torch.testing.assert_close(y, wanted(x).detach(), equal_nan=True)


def test_what_is_not_finite_does_not_pass_a_unit_that_is_off() -> None:
    grad = torch.tensor([[float("nan"), float("inf"), 2.0, float("nan")]])
    y = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    dz, sums = triton_linear_act.backward(grad, y, "relu", True)
    wanted = torch.ops.aten.threshold_backward(grad, y, 0)
    torch.testing.assert_close(dz, wanted, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(sums, wanted[0], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tanh_is_exact_near_zero(dtype) -> None:
    x = torch.logspace(-12, 1, 200, dtype=dtype)[:, None]
    x = torch.cat((x, -x, torch.zeros(1, 1, dtype=dtype)))
    y = linear_act(x, torch.ones(1, 1, dtype=dtype), None, "tanh", False)[0]
    rtol = 1e-12 if dtype == torch.float64 else 5e-7
    torch.testing.assert_close(y.double(), x.double().tanh(), rtol=rtol, atol=0)


def test_rows_that_end_inside_a_vector_are_copied_once() -> None:
    """What is kept for the gradient is the copy with whole rows, and all products read it."""
    kept: list[torch.Tensor] = []
    mlp, x = TritonMLP(19, [6], "relu", out=3), torch.randn(5, 19, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = mlp(x)
    assert {t.shape[1] for t in kept if t.dim() == 2} == {20, 6, 3}
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert grad.shape == x.shape and grad.stride(0) == 20


def test_only_what_is_needed(launches) -> None:
    x, weight, bias = torch.randn(5, 8), torch.randn(6, 8, requires_grad=True), torch.randn(6)
    linear_act(x, weight, bias, "relu", True)[0].sum().backward()
    assert weight.grad is not None
    empty = linear_act_backward(x[:, :6], x, weight.detach(), x[:, :6], "relu", False, False, False)
    assert [e.numel() for e in empty] == [0, 0, 0]
    with torch.no_grad():
        assert linear_act(x, weight, bias, "gelu", False)[1].numel() == 0
    assert linear_act(x, weight, bias, "gelu", True)[1].shape == (5, 6)


def test_equal_runs_give_equal_bits() -> None:
    torch.manual_seed(0)
    mlp, x = TritonMLP(48, [33], "silu"), torch.randn(70, 48)
    first = mlp(x)
    assert torch.equal(first, mlp(x))
    torch.testing.assert_close(first[40:50], mlp(x[40:50]))
    grad = torch.randn(70, 33)
    tiles = Tile(16, 32, 0, 4, 1), Tile(64, 16, 0, 4, 1)
    (dz, sums), (other, other_sums) = (
        triton_linear_act.backward(grad, first.detach(), "silu", True, tile) for tile in tiles
    )
    assert torch.equal(dz, other)
    torch.testing.assert_close(sums, other_sums)


def test_more_rows_than_programs() -> None:
    """One program then takes several blocks of rows."""
    torch.manual_seed(0)
    rows = 16 * MOST_PROGRAMS + 5
    grad, y = torch.randn(rows, 4, dtype=torch.float64), torch.rand(rows, 4, dtype=torch.float64)
    dz, sums = triton_linear_act.backward(grad, y, "sigmoid", True, Tile(16, 16, 0, 4, 1))
    wanted = torch.ops.aten.sigmoid_backward(grad, y)
    torch.testing.assert_close(dz, wanted)
    torch.testing.assert_close(sums, wanted.sum(0))


def test_a_production_shape() -> None:
    """With huge tiles, because the interpreter's cost is per operation."""
    torch.manual_seed(0)
    x, weight, bias = torch.randn(1000, 432), torch.randn(200, 432) / 20, torch.randn(200)
    y, z = triton_linear_act.forward(x, weight, bias, "gelu", True, Tile(512, 256, 256, 8, 1))
    exact = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
    assert ((z - exact).norm() / exact.norm()).item() < TOLERANCE[torch.float32]
    exact = torch.nn.functional.gelu(exact)
    assert ((y - exact).norm() / exact.norm()).item() < TOLERANCE[torch.float32]


@pytest.mark.parametrize("act", ["relu", "gelu", "none"])
@pytest.mark.parametrize(("rows", "depth", "columns"), [(33, 65, 17), (40, 18, 48), (1, 1, 1)])
def test_every_address_is_inside(act, rows, depth, columns) -> None:
    with watch():
        check_mlp(one_layer(depth, columns, act), rows=rows)


def test_autocast_reaches_the_kernel(launches) -> None:
    torch.manual_seed(0)
    mlp, exact = TritonMLP(32, [24], "silu"), MLP(32, [24], "silu").double()
    exact.load_state_dict(mlp.state_dict())
    x = torch.randn(20, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = mlp(x)
        errors = distances(mlp, exact, x)
    assert y.dtype == torch.bfloat16
    assert max(errors) < TOLERANCE[torch.bfloat16]
