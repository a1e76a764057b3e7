"""The operators with a layer norm or a product, and their layers: no GPU, the torch path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.library import opcheck

from graphrec.kernels import (
    TritonCrossV2,
    TritonEPNet,
    TritonMaskBlock,
    TritonMaskNet,
    TritonMLP,
    TritonPPNet,
)
from graphrec.kernels.ops.linear_norm_act import (
    WIDEST,
    linear_norm_act,
    linear_norm_act_backward,
)
from graphrec.kernels.ops.linear_scale import linear_scale, linear_scale_backward
from graphrec.kernels.ops.reference import FUSED
from graphrec.kernels.triton import tiles
from graphrec.nn import MLP, CrossV2, EPNet, MaskBlock, MaskNet, PPNet

sys.path.insert(0, str(Path(__file__).resolve().parent))
from twins import results, twins

LAYERS = {
    # twin, plain, constructor arguments, widths of the inputs, its operator
    "cross": (TritonCrossV2, CrossV2, {"in_features": 6}, (6, 6), "linear_scale"),
    "low rank": (TritonCrossV2, CrossV2, {"in_features": 6, "rank": 2}, (6, 6), "linear_scale"),
    "gate": (
        TritonEPNet,
        EPNet,
        {"in_features": 6, "domain_features": 3, "hidden": 4},
        (6, 3),
        "linear_scale",
    ),
    "gates": (
        TritonPPNet,
        PPNet,
        {"in_features": 6, "domain_features": 3, "hidden": [5, 4], "gate_hidden": 4},
        (6, 3),
        "linear_scale",
    ),
    "mask": (
        TritonMaskBlock,
        MaskBlock,
        {"in_features": 6, "mask_features": 3, "hidden": 4, "aggregation": 5},
        (6, 3),
        "linear_norm_act",
    ),
    "masks": (
        TritonMaskNet,
        MaskNet,
        {"in_features": 6, "blocks": 2, "hidden": 4, "top": [5], "mode": "serial"},
        (6,),
        "linear_norm_act",
    ),
    "mlp": (
        TritonMLP,
        MLP,
        {"in_features": 6, "hidden": [5, 4], "activation": "silu", "norm": "layer"},
        (6,),
        "linear_norm_act",
    ),
}
each_layer = pytest.mark.parametrize("name", LAYERS)
each_act = pytest.mark.parametrize("act", FUSED)


def layers(name: str):
    twin, plain, options, widths, _ = LAYERS[name]
    return *twins(twin, plain, **options), [torch.randn(5, width) for width in widths]


@each_layer
def test_the_same_as_the_plain_layer(name) -> None:
    twin, plain, inputs = layers(name)
    torch.testing.assert_close(results(twin, *inputs), results(plain, *inputs))


@each_layer
def test_compile(name) -> None:
    twin, _, inputs = layers(name)
    compiled = torch.compile(twin, fullgraph=True)
    torch.testing.assert_close(results(compiled, *inputs), results(twin, *inputs))


@each_layer
def test_export_with_any_number_of_rows(name) -> None:
    twin, plain, inputs = layers(name)
    rows = torch.export.Dim("rows", min=2, max=4096)
    shapes = tuple({0: rows} for _ in inputs)
    example = tuple(x.detach() for x in inputs)
    program = torch.export.export(twin.eval(), example, dynamic_shapes=shapes)
    assert f"graphrec.{LAYERS[name][-1]}" in str(program.graph)
    more = [torch.randn(37, x.shape[1]) for x in inputs]
    torch.testing.assert_close(program.module()(*more), plain(*more))


@each_layer
def test_meta_tensors(name) -> None:
    twin, _, inputs = layers(name)
    twin = twin.to("meta")
    xs = [torch.empty(83, x.shape[1], device="meta", requires_grad=True) for x in inputs]
    y = twin(*xs)
    y.sum().backward()
    assert y.shape[0] == 83
    assert all(x.grad is not None and x.grad.shape == x.shape for x in xs)


def parts(dtype: torch.dtype = torch.float32, square: bool = False):
    """x, weight, bias, two vectors [N], two matrices [M, N]."""
    torch.manual_seed(0)
    m, k, n = 5, 4 if square else 3, 4
    shapes = (m, k), (n, k), (n,), (n,), (n,), (m, n), (m, n)
    return [torch.randn(s, dtype=dtype, requires_grad=True) for s in shapes]


@each_act
def test_the_norm_keeps_torchs_rules(act) -> None:
    x, weight, bias, gamma, beta, grad, _ = parts()
    for b in (bias, None):
        opcheck(linear_norm_act, (x, weight, b, gamma, beta, 1e-5, act, True))
    tensors = [t.detach() for t in (grad, x, weight, grad, gamma, beta)]
    for needs in ((True,) * 4, (False, True, False, True), (True, False, True, False)):
        opcheck(linear_norm_act_backward, (*tensors, 1e-5, act, *needs))


@each_act
def test_the_product_keeps_torchs_rules(act) -> None:
    x, weight, bias, _, _, factor, skip = parts()
    for b, s in ((bias, skip), (None, None)):
        opcheck(linear_scale, (x, weight, b, factor, s, act, 2.0, True))
    double = factor.detach().double().requires_grad_()
    opcheck(linear_scale, (x, weight, bias, double, skip, act, 2.0, True))
    tensors = [t.detach() for t in (skip, x, weight, factor, factor)]
    for needs in ((True,) * 4, (False, True, False, True), (True, False, True, False)):
        opcheck(linear_scale_backward, (*tensors, act, 2.0, False, *needs))


@each_act
def test_gradients_by_differences(act) -> None:
    x, weight, bias, gamma, beta, factor, skip = parts(torch.float64)
    assert torch.autograd.gradcheck(
        lambda *args: linear_norm_act(*args, 1e-5, act, True)[0], (x, weight, bias, gamma, beta)
    )
    assert torch.autograd.gradcheck(
        lambda *args: linear_scale(*args, act, 1.7, True)[0], (x, weight, bias, factor, skip)
    )


def test_a_layer_that_skips_itself_adds_in_its_product() -> None:
    x, weight, bias, _, _, factor, _ = parts(torch.float64, square=True)
    inputs = (x, weight, bias, factor)

    def cross(x, weight, bias, factor):
        return linear_scale(x, weight, bias, factor, x, "none", 1.0, True)[0]

    assert torch.autograd.gradcheck(cross, inputs)
    y = cross(*inputs)
    with torch.profiler.profile() as profile:
        torch.autograd.grad(y.sum(), inputs)
    called = [event.name for event in profile.events()]
    assert "aten::addmm" in called and "aten::add" not in called


def test_nothing_is_kept_without_a_gradient() -> None:
    x, weight, bias, gamma, beta, factor, skip = parts()
    with torch.no_grad():
        assert linear_norm_act(x, weight, bias, gamma, beta, 1e-5, "relu", False)[1].numel() == 0
        assert linear_scale(x, weight, bias, factor, skip, "relu", 1.0, False)[1].numel() == 0
    with pytest.raises(RuntimeError, match="a layer norm needs save=True"):
        linear_norm_act(x, weight, bias, gamma, beta, 1e-5, "relu", False)
    with pytest.raises(RuntimeError, match="linear_scale needs save=True"):
        linear_scale(x, weight, bias, factor, skip, "relu", 1.0, False)


def test_wrong_arguments() -> None:
    x, weight, bias, gamma, beta, factor, skip = (t.detach() for t in parts())
    with pytest.raises(ValueError, match=r"gamma \(3,\) and beta \(4,\), weight \(4, 3\)"):
        linear_norm_act(x, weight, bias, gamma[:3], beta, 1e-5, "relu", True)
    with pytest.raises(ValueError, match="no activation `dice`"):
        linear_norm_act(x, weight, bias, gamma, beta, 1e-5, "dice", True)
    wide = torch.zeros(WIDEST + 1)
    with pytest.raises(ValueError, match=f"rows of {WIDEST + 1} are wider than {WIDEST}"):
        linear_norm_act(x, wide[:, None].expand(-1, 3), None, wide, wide, 1e-5, "relu", True)
    with pytest.raises(ValueError, match=r"factor \(5, 3\), the result \(5, 4\)"):
        linear_scale(x, weight, bias, factor[:, :3], None, "relu", 1.0, True)
    with pytest.raises(ValueError, match=r"skip \(4, 4\), the result \(5, 4\)"):
        linear_scale(x, weight, bias, factor, skip[:4], "relu", 1.0, True)


def test_a_row_that_no_kernel_holds_is_left_to_torch() -> None:
    torch.manual_seed(0)
    twin, plain = (kind(2, [WIDEST + 1], "relu", "layer") for kind in (TritonMLP, MLP))
    plain.load_state_dict(twin.state_dict())
    x = torch.randn(3, 2)
    assert torch.equal(twin(x), plain(x))


def test_there_is_a_tile_for_every_width() -> None:
    assert tiles.row_tile(WIDEST).columns == WIDEST == tiles.ROW[-1].columns
    for columns in range(1, WIDEST + 1, 37):
        assert tiles.row_tile(columns).columns >= columns
        for itemsize in (2, 4):
            tile = tiles.norm_tile(1 << 14, columns, itemsize)
            assert (tile is None) == (columns > 256)
            assert tile is None or tile.columns >= columns
