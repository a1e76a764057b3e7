"""Compiled passes against torch's operators: gradients before rectifiers, pairs of fields."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from graphrec.nn import FM, pair_sum
from graphrec.nn.native.norm import norm_kernel
from graphrec.nn.native.passes import Passes, passes


@pytest.fixture
def fused() -> Passes:
    found = passes()
    if found is None:
        pytest.skip("nothing can be compiled here")
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(64, 16), (130, 37), (1, 5), (0, 4), (1000, 256), (17, 1)])
def test_gradient_before_a_rectifier(
    fused: Passes, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    grad, out = torch.randn(shape, dtype=dtype), torch.relu(torch.randn(shape, dtype=dtype))
    masked, transposed, sums = fused.rectify(grad, out, transposed=True, bias=True)
    expected = torch.ops.aten.threshold_backward(grad, out, 0)
    assert torch.equal(masked, expected)
    assert (
        transposed is not None
        and transposed.is_contiguous()
        and torch.equal(transposed, expected.t())
    )
    torch.testing.assert_close(sums, expected.double().sum(0).float(), rtol=1e-5, atol=1e-4)
    _, none, nothing = fused.rectify(grad, out, transposed=False, bias=False)
    assert none is None and nothing is None


def test_nan_passes_where_torch_lets_it_pass(fused: Passes) -> None:
    nan = float("nan")
    grad = torch.tensor([[nan, nan, 1.0, 1.0, 1.0]])
    out = torch.tensor([[0.0, 2.0, nan, 0.0, float("inf")]])
    masked, _, sums = fused.rectify(grad, out, transposed=False, bias=True)
    expected = torch.ops.aten.threshold_backward(grad, out, 0)
    torch.testing.assert_close(masked, expected, equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(sums, expected[0], equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["columns", "expanded", "transposed"])
def test_gradients_of_any_strides(fused: Passes, kind: str) -> None:
    wide = torch.randn(70, 90)
    grad = {
        "columns": wide[:, 20:60],
        "expanded": wide[:1, :40].expand(70, 40),
        "transposed": torch.randn(40, 70).t(),
    }[kind]
    out = torch.relu(torch.randn(70, 40))
    masked, transposed, _ = fused.rectify(grad, out, transposed=True, bias=False)
    assert torch.equal(masked, torch.where(out > 0, grad, 0.0))
    assert transposed is not None and torch.equal(transposed, masked.t())


def test_sums_do_not_depend_on_threads(fused: Passes) -> None:
    grad, out = torch.randn(3000, 33), torch.ones(3000, 33)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(fused.rectify(grad, out, transposed=False, bias=True)[2])
    finally:
        torch.set_num_threads(before)
    assert all(
        found[0] is not None and torch.equal(found[0], one) for one in found if one is not None
    )


@pytest.mark.parametrize("shape", [(50, 7, 16), (33, 4, 8), (9, 5, 32), (20, 39, 10), (0, 3, 4)])
def test_pairs_of_fields(
    fused: Passes, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    wide = torch.randn(shape[0], shape[1] * shape[2] + 6)

    def run(fields: Tensor) -> tuple[Tensor, Tensor]:
        given = fields.detach().requires_grad_()
        found = FM()(given)
        weights = torch.linspace(-1, 1, found.numel(), dtype=found.dtype).view_as(found)
        return found.detach(), torch.autograd.grad((found * weights).sum(), given)[0]

    fields = wide[:, 2:-4].unflatten(1, shape[1:])  # rows with a gap between them
    assert pair_sum._passes_for(fields) is fused
    for a, b in zip(run(fields), run(fields.double()), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)
    monkeypatch.setattr(pair_sum, "passes", lambda: None)
    for a, b in zip(run(fields), run(fields.double()), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


def test_other_fields_go_to_torch(fused: Passes) -> None:
    fields = torch.randn(4, 3, 8)
    for other in (fields.double(), fields.bfloat16(), fields.transpose(1, 2), fields.to("meta")):
        assert pair_sum._passes_for(other) is None


def test_results_lie_where_the_arguments_do(fused: Passes) -> None:
    fields, grad, weights = torch.randn(6, 3, 4), torch.randn(6, 4), torch.rand(6, 1, 2)
    experts = [torch.randn(6, 4) for _ in range(2)]
    with torch.device("meta"):  # the default of what is made anew
        found = [*fused.pairs(fields), fused.pairs_backward(fields, grad, grad)]
        found += [
            one for one in fused.rectify(grad, grad, transposed=True, bias=True) if one is not None
        ]
        found += fused.mix(weights, experts)
    assert len(found) == 7 and all(one.device.type == "cpu" for one in found)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 3e25])
def test_norm_of_many_tensors(scale: float) -> None:
    """Of all sizes, also where squares are no numbers of float32 any more."""
    kernel = norm_kernel()
    if kernel is None:
        pytest.skip("nothing can be compiled here")
    torch.manual_seed(0)
    tensors = [scale * torch.randn(size) for size in ((5,), (0,), (300, 130), (1, 1), (17, 3))]
    expected = torch.cat([tensor.double().flatten() for tensor in tensors]).norm()
    assert kernel.norm(tensors) == pytest.approx(float(expected), rel=1e-12)
    assert kernel.norm([*tensors, torch.tensor([torch.nan])]) != kernel.norm(tensors)
    assert math.isinf(kernel.norm([*tensors, torch.tensor([torch.inf])]) or 0.0)
    assert kernel.norm([]) == 0.0
    assert kernel.norm([tensors[2].t()]) is None
    assert kernel.norm([tensors[0].double()]) is None
