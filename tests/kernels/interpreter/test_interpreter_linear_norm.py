"""The kernels of `linear_norm_act`, run by Triton's interpreter through the public layer."""

from __future__ import annotations

import pytest
import torch
from agreement import TOLERANCE, check_mlp
from interpreter_watch import watch

from graphrec.kernels import TritonMLP
from graphrec.kernels.ops.linear_norm_act import linear_norm_act, linear_norm_act_backward
from graphrec.kernels.ops.reference import FUSED
from graphrec.kernels.triton import layer_norm
from graphrec.kernels.triton import linear_norm_act as triton_linear_norm_act
from graphrec.kernels.triton.tiles import Tile
from graphrec.nn.dense import MLP

LONG = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 8e-3, torch.bfloat16: 5e-2}
"""A layer norm divides by small numbers: looser than a Linear's TOLERANCE."""
each_act = pytest.mark.parametrize("act", FUSED)
# Widths up to 64 fit a tile in the interpreter, wider ones take the row kernel.
both_ways = pytest.mark.parametrize("columns", [45, 70])


def one_layer(depth: int, columns: int, act: str, bias: bool = True):
    return lambda kind: kind(depth, [columns], act, "layer", bias=bias)


@each_act
@both_ways
def test_every_activation_in_fp32(act, columns, launches) -> None:
    check_mlp(one_layer(19, columns, act), 37, tolerance=LONG[torch.float32])
    forward = "norm_forward_kernel" if columns <= 64 else "norm_rows_kernel"
    assert launches == [forward, "norm_slope_kernel", "column_sum_kernel"]


@pytest.mark.parametrize("act", ["relu", "silu"])
@both_ways
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision(act, columns, dtype) -> None:
    check_mlp(one_layer(40, columns, act), 33, dtype, LONG[dtype])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [(1, 1, 2), (5, 1, 33), (16, 16, 16), (33, 65, 17), (40, 32, 64), (18, 3, 65), (33, 16, 128)],
)
def test_odd_shapes(rows, depth, columns, bias) -> None:
    check_mlp(one_layer(depth, columns, "silu", bias), rows, torch.float64)


@pytest.mark.parametrize("act", ["gelu", "tanh", "none"])
@pytest.mark.parametrize("columns", [4, 66])
def test_gradients_by_differences(act, columns) -> None:
    torch.manual_seed(3)
    shapes = (3, 2), (columns, 2), (columns,), (columns,), (columns,)
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    layer = lambda *args: linear_norm_act(*args, 1e-5, act, True)[0]  # noqa: E731
    assert torch.autograd.gradcheck(layer, inputs, fast_mode=True)


def test_a_stack_with_dropout() -> None:
    def make(kind: type[MLP]) -> MLP:
        return kind(24, [40, 70], "gelu", "layer", dropout=[0.3, 0.1], out=3)

    check_mlp(make, rows=50, tolerance=LONG[torch.float32])


def test_no_rows() -> None:
    for columns in (4, 70):
        mlp, x = TritonMLP(8, [columns], "silu", "layer"), torch.randn(0, 8, requires_grad=True)
        mlp(x).sum().backward()
        assert x.grad is not None and x.grad.shape == (0, 8)
        assert all(not p.grad.any() for p in mlp.parameters())
        mlp(torch.randn(1, 8))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy tells of each NaN it makes
@both_ways
def test_nan_stays_in_its_row(columns) -> None:
    torch.manual_seed(0)
    mlp, plain = TritonMLP(3, [columns], "relu", "layer"), MLP(3, [columns], "relu", "layer")
    plain.load_state_dict(mlp.state_dict())
    x = torch.randn(4, 3)
    x[1, 2], x[3, 0] = float("nan"), float("inf")
    torch.testing.assert_close(mlp(x), plain(x), equal_nan=True)


def test_what_is_not_finite_does_not_pass_a_unit_that_is_off() -> None:
    z, ones, zeros = torch.tensor([[1.0, -1.0, 2.0, -2.0]]), torch.ones(4), torch.zeros(4)
    grad = torch.tensor([[1.0, float("nan"), 2.0, float("inf")]])
    wanted = layer_norm.backward(grad.nan_to_num(0, 0), z, ones, zeros, 1e-5, "relu", True, True)
    ours = layer_norm.backward(grad, z, ones, zeros, 1e-5, "relu", True, True)
    torch.testing.assert_close(ours, wanted, rtol=0, atol=0)


def test_only_what_is_needed(launches) -> None:
    x, weight, gamma = torch.randn(5, 8), torch.randn(6, 8), torch.ones(6)
    y, z = linear_norm_act(x, weight, None, gamma, gamma, 1e-5, "relu", False)
    assert y.shape == (5, 6) and z.numel() == 0
    arguments = (y, x, weight, y, gamma, gamma, 1e-5, "relu")
    none = linear_norm_act_backward(*arguments, False, False, False, False)
    assert [e.numel() for e in none] == [0] * 5
    some = linear_norm_act_backward(*arguments, True, False, True, False)
    every = linear_norm_act_backward(*arguments, True, True, True, True)
    assert [e.numel() for e in some] == [40, 0, 6, 0, 0]
    assert torch.equal(some[0], every[0]) and torch.equal(some[2], every[2])


def test_equal_runs_give_equal_bits_whatever_the_tiles() -> None:
    torch.manual_seed(0)
    z, grad = torch.randn(70, 50), torch.randn(70, 50)
    gamma, beta = torch.randn(50), torch.randn(50)
    tiles = Tile(16, 64, 0, 4, 1), Tile(32, 64, 0, 4, 1)
    (dz, *sums), (other, *other_sums) = (
        layer_norm.backward(grad, z, gamma, beta, 1e-5, "silu", True, True, tile) for tile in tiles
    )
    assert torch.equal(dz, other)
    torch.testing.assert_close(sums, other_sums)
    again = layer_norm.backward(grad, z, gamma, beta, 1e-5, "silu", True, True, tiles[0])
    assert all(torch.equal(a, b) for a, b in zip((dz, *sums), again, strict=True))


def test_a_production_shape() -> None:
    """With huge tiles, because the interpreter's cost is per operation."""
    torch.manual_seed(0)
    x, weight = torch.randn(1000, 432), torch.randn(200, 432) / 20
    bias, gamma, beta = torch.randn(3, 200)
    tile = Tile(512, 256, 256, 8, 1)
    y, z = triton_linear_norm_act.forward(x, weight, bias, gamma, beta, 1e-5, "gelu", True, tile)
    exact = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
    assert ((z - exact).norm() / exact.norm()).item() < TOLERANCE[torch.float32]
    exact = torch.nn.functional.layer_norm(exact, [200], gamma.double(), beta.double())
    exact = torch.nn.functional.gelu(exact)
    assert ((y - exact).norm() / exact.norm()).item() < TOLERANCE[torch.float32]


@pytest.mark.parametrize(("rows", "depth", "columns"), [(33, 65, 17), (18, 16, 100), (1, 1, 2)])
def test_every_address_is_inside(rows, depth, columns) -> None:
    with watch():
        check_mlp(one_layer(depth, columns, "gelu"), rows, torch.float64)


def test_a_large_mean_hides_no_deviation() -> None:
    """The sum of squares less the square of the mean would lose it."""
    torch.manual_seed(0)
    z = torch.randn(8, 70) + 3000
    ones, zeros = torch.ones(70), torch.zeros(70)
    wanted = torch.nn.functional.layer_norm(z.double(), [70]).float()
    torch.testing.assert_close(
        layer_norm.norm_rows(z, ones, zeros, 1e-5, "none"), wanted, rtol=1e-3, atol=1e-3
    )


def test_autocast_reaches_the_kernel(launches) -> None:
    torch.manual_seed(0)
    mlp, x = TritonMLP(32, [24], "silu", "layer"), torch.randn(20, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = mlp(x)
    y.float().sum().backward()
    plain = MLP(32, [24], "silu", "layer").double()
    plain.load_state_dict(mlp.state_dict())
    wanted = plain(x.double())
    assert y.dtype == torch.bfloat16
    assert (y.double() - wanted).norm() < LONG[torch.bfloat16] * wanted.norm()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in mlp.parameters())
    assert launches == ["norm_forward_kernel", "norm_slope_kernel", "column_sum_kernel"]
