"""The kernels of `linear_scale` and the layers on it, run by Triton's interpreter."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from agreement import TOLERANCE, check_twin
from interpreter_watch import watch

from graphrec.kernels import (
    TritonCrossV2,
    TritonEPNet,
    TritonMaskBlock,
    TritonMaskNet,
    TritonPPNet,
)
from graphrec.kernels.ops.linear_scale import linear_scale, linear_scale_backward
from graphrec.kernels.ops.reference import FUSED
from graphrec.kernels.triton import linear_scale as triton_linear_scale
from graphrec.kernels.triton.tiles import Tile
from graphrec.nn import CrossV2, EPNet, MaskBlock, MaskNet, PPNet

SEED = 1
"""Of the parameters: with this one no input of a mask block's last ReLU is nearly zero."""
DEEP = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 8e-3, torch.bfloat16: 5e-2}
"""Several layers, or a layer norm: looser than a Linear's TOLERANCE."""
LAYERS = {
    # twin, plain, constructor arguments, widths of the inputs
    "cross": (TritonCrossV2, CrossV2, {"in_features": 45}, (45, 45)),
    "low rank": (TritonCrossV2, CrossV2, {"in_features": 32, "rank": 5}, (32, 32)),
    "gate": (
        TritonEPNet,
        EPNet,
        {"in_features": 33, "domain_features": 7, "hidden": 9, "gamma": 1.7},
        (33, 7),
    ),
    "gates": (
        TritonPPNet,
        PPNet,
        {
            "in_features": 20,
            "domain_features": 4,
            "hidden": [33, 8],
            "gate_hidden": 9,
            "activation": "silu",
            "norm": "layer",
        },
        (20, 4),
    ),
    "mask": (
        TritonMaskBlock,
        MaskBlock,
        {"in_features": 40, "mask_features": 18, "hidden": 35, "aggregation": 17},
        (40, 18),
    ),
    "masks": (TritonMaskNet, MaskNet, {"in_features": 16, "blocks": 2, "hidden": 9}, (16,)),
    "serial masks": (
        TritonMaskNet,
        MaskNet,
        {
            "in_features": 16,
            "blocks": 2,
            "hidden": 9,
            "mode": "serial",
            "top": [8],
            "activation": "gelu",
            "norm": "layer",
        },
        (16,),
    ),
}
each_act = pytest.mark.parametrize("act", FUSED)
each_layer = pytest.mark.parametrize("name", LAYERS)


def check(name: str, rows: int, dtype: torch.dtype, limit: float | None = None) -> None:
    twin, plain, options, widths = LAYERS[name]
    torch.manual_seed(0)
    inputs = [torch.randn(rows, width) for width in widths]
    limit = limit or DEEP[dtype]
    check_twin(lambda kind: kind(**options), twin, plain, inputs, dtype, limit, seed=SEED)


def parts(rows: int, depth: int, columns: int, dtype: torch.dtype = torch.float64):
    """x, weight, bias, factor, skip."""
    torch.manual_seed(3)
    shapes = (rows, depth), (columns, depth), (columns,), (rows, columns), (rows, columns)
    return [torch.randn(s, dtype=dtype, requires_grad=True) for s in shapes]


@each_layer
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_layers(name, dtype, launches) -> None:
    check(name, 37, dtype)
    assert {"scale_forward_kernel", "scale_slope_kernel"} <= set(launches)


def test_a_cross_layer_alone_is_exact() -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        check("cross", 33, dtype, TOLERANCE[dtype])


@each_act
@pytest.mark.parametrize("last", ["skip", "none", "x"])
def test_gradients_by_differences(act, last) -> None:
    x, weight, bias, factor, skip = parts(4, 3, 3)
    layer = partial(_layer, act=act, last=last)
    assert torch.autograd.gradcheck(layer, (x, weight, bias, factor, skip), fast_mode=True)


def _layer(x, weight, bias, factor, skip, act: str, last: str):
    third = {"skip": skip, "none": None, "x": x}[last]
    y = linear_scale(x, weight, bias, factor, third, act, 1.7, True)[0]
    return y if last == "skip" else y + 0 * skip


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("act", ["none", "sigmoid", "gelu"])
@pytest.mark.parametrize(
    ("rows", "depth", "columns"), [(1, 1, 1), (33, 65, 17), (40, 18, 48), (300, 4, 40)]
)
def test_odd_shapes_and_every_address(rows, depth, columns, act, bias) -> None:
    x, weight, b, factor, skip = (t.detach() for t in parts(rows, depth, columns))
    b = b if bias else None
    with watch():
        y, kept = linear_scale(x, weight, b, factor, skip, act, 2.0, True)
        grads = linear_scale_backward(
            y, x, weight, factor, kept, act, 2.0, False, True, True, bias, True
        )
    z = torch.nn.functional.linear(x, weight, b)
    functions = {"none": lambda v: v, "sigmoid": torch.sigmoid, "gelu": torch.nn.functional.gelu}
    torch.testing.assert_close(kept, z if act == "gelu" else functions[act](z))
    torch.testing.assert_close(y, 2 * factor * functions[act](z) + skip)
    wanted = [t.requires_grad_() for t in (x, weight, b, factor) if t is not None]
    exact = 2 * factor * functions[act](torch.nn.functional.linear(x, weight, b)) + skip
    exact_grads = torch.autograd.grad(exact, wanted, y)
    torch.testing.assert_close([g for g in grads if g.numel()], list(exact_grads))


def test_views_are_read_where_they_are(launches) -> None:
    wide = torch.randn(9, 48)
    x, factor = wide[:, 16:32], wide[:, 32:48]
    weight = torch.randn(16, 16)
    y, _ = linear_scale(x, weight, None, factor, factor, "none", 1.0, False)
    torch.testing.assert_close(y, factor * (x @ weight.t()) + factor)
    grads = linear_scale_backward(
        y, x, weight, factor, y, "none", 1.0, False, False, False, False, True
    )
    torch.testing.assert_close(grads[3], y * y)
    assert launches == ["scale_forward_kernel", "scale_slope_kernel"]


def test_no_rows() -> None:
    layer, x = TritonCrossV2(8), torch.randn(0, 8, requires_grad=True)
    layer(torch.randn(0, 8), x).sum().backward()
    assert x.grad is not None and x.grad.shape == (0, 8)
    assert all(not p.grad.any() for p in layer.parameters())
    layer(torch.randn(1, 8), torch.randn(1, 8))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy tells of each NaN it makes
def test_nan_and_infinity_pass_through() -> None:
    x = torch.tensor([[float("nan")], [float("inf")], [2.0], [3.0]])
    factor = torch.tensor([[1.0], [1.0], [float("nan")], [float("inf")]])
    weight = torch.ones(1, 1)
    for act, function in (("none", lambda v: v), ("relu", torch.relu), ("sigmoid", torch.sigmoid)):
        y = linear_scale(x, weight, None, factor, x, act, 1.0, False)[0]
        torch.testing.assert_close(y, factor * function(x) + x, equal_nan=True)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy tells of each NaN it makes
def test_what_is_not_finite_does_not_pass_a_unit_that_is_off() -> None:
    nan, inf = float("nan"), float("inf")
    grad, factor = torch.tensor([[nan, 1.0, 0.0, 2.0]]), torch.tensor([[1.0, inf, inf, 3.0]])
    kept = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    dz, dfactor, sums = triton_linear_scale.backward(grad, factor, kept, "relu", 1.0, True, True)
    assert dz.tolist() == [[0, 0, 0, 6]] and sums.tolist() == [0, 0, 0, 6]
    torch.testing.assert_close(dfactor, grad * kept, equal_nan=True)


def test_only_what_is_needed(launches) -> None:
    x, weight, bias, factor, skip = (t.detach() for t in parts(5, 8, 6, torch.float32))
    assert linear_scale(x, weight, bias, factor, skip, "none", 1.0, False)[1].numel() == 0
    arguments = (skip, x, weight, factor, factor, "sigmoid", 1.0, False)
    none = linear_scale_backward(*arguments, False, False, False, False)
    assert [e.numel() for e in none] == [0] * 4
    some = linear_scale_backward(*arguments, False, True, False, True)
    assert [e.numel() for e in some] == [0, 48, 0, 30]


def test_equal_runs_give_equal_bits_whatever_the_tiles() -> None:
    torch.manual_seed(0)
    grad, factor, kept = torch.randn(3, 70, 33)
    tiles = Tile(16, 32, 0, 4, 1), Tile(64, 16, 0, 4, 1), Tile(16, 32, 0, 4, 1)
    first, other, again = (
        triton_linear_scale.backward(grad, factor, kept, "silu", 2.0, True, True, tile)
        for tile in tiles
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(first[0], other[0]) and torch.equal(first[1], other[1])
    torch.testing.assert_close(first[2], other[2])


def test_autocast_keeps_the_skip_exact(launches) -> None:
    torch.manual_seed(0)
    layer, plain = TritonCrossV2(32), CrossV2(32)
    plain.load_state_dict(layer.state_dict())
    x0, x = torch.randn(2, 20, 32).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, wanted = layer(x0, x), plain(x0, x)
    assert y.dtype == wanted.dtype == torch.float32
    grads, exact = (
        torch.autograd.grad(t.square().sum(), [x0, x, *m.parameters()])
        for t, m in ((y, layer), (wanted, plain))
    )
    assert launches == ["scale_forward_kernel", "scale_slope_kernel", "column_sum_kernel"]
    for ours, theirs in zip((y, *grads), (wanted, *exact), strict=True):
        assert ours.dtype == theirs.dtype
        assert (ours - theirs).norm() < TOLERANCE[torch.bfloat16] * theirs.norm()
