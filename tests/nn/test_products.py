"""Products by oneDNN: equal to torch's, chosen only where they are allowed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.nn import products
from graphrec.nn.dense import MLP, Linear
from graphrec.nn.products import cast_input, goes_to_onednn, product


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """oneDNN is asked for, on any processor."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch was built without oneDNN")
    monkeypatch.setenv("GRAPHREC_ONEDNN", "1")
    products._wanted.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    products._wanted.cache_clear()


@pytest.fixture(params=[True, False], ids=["compiled", "torch"])
def compiled(request: pytest.FixtureRequest) -> bool:
    """With the passes of the C++ library, and without."""
    if request.param and products.passes() is None:
        pytest.skip("nothing can be compiled here")
    return bool(request.param)


def both(x: Tensor, weight: Tensor, bias: Tensor | None) -> list[tuple[Tensor, ...]]:
    """Output and gradients: of `product`, and of torch in float64."""
    found = []
    for run, dtype in ((product, torch.float32), (F.linear, torch.float64)):
        given = [t.detach().to(dtype).requires_grad_() for t in (x, weight, bias) if t is not None]
        y = run(*given)
        grads = torch.autograd.grad(torch.relu_(y).square().sum(), given)
        found.append((y.detach(), *grads))
    return found


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("shape", [(2048, 64, 40), (300, 129, 77), (70, 500, 100), (4096, 600, 1)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_equal_to_torch(shape: tuple[int, ...], with_bias: bool) -> None:
    torch.manual_seed(0)
    rows, depth, width = shape
    x, weight = torch.randn(rows, depth), torch.randn(width, depth) / depth**0.5
    assert goes_to_onednn(x, weight)
    ours, exact = both(x, weight, torch.randn(width) if with_bias else None)
    for a, b in zip(ours, exact, strict=True):
        assert a.shape == b.shape and a.is_contiguous()
        assert ((a.double() - b).norm() / b.norm()).item() < 2e-6


@pytest.mark.usefixtures("asked")
def test_odd_strides_and_constants() -> None:
    torch.manual_seed(0)
    wide, weight = torch.randn(1000, 300), torch.randn(80, 200, requires_grad=True)
    view = wide[:, 50:250]
    y = product(view, weight)
    torch.testing.assert_close(y, F.linear(view, weight), rtol=1e-5, atol=1e-4)
    (of_weight,) = torch.autograd.grad(y.sum(), weight)  # an expanded gradient, x is constant
    torch.testing.assert_close(of_weight, view.sum(0).expand(80, -1), rtol=1e-4, atol=1e-3)
    with torch.no_grad():
        assert not product(view, weight).requires_grad


@pytest.mark.usefixtures("asked")
def test_factors_with_gaps_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN would take seconds for them."""
    seen: list[Tensor] = []
    times = torch.ops.mkldnn._linear_pointwise

    def spy(x: Tensor, weight: Tensor, *rest: object) -> Tensor:
        seen.append(weight)
        return times(x, weight, *rest)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", spy)
    wide = torch.randn(1000, 400, requires_grad=True)
    weights = torch.randn(100, 400, requires_grad=True)
    y = product(wide[:, 100:300], weights[:, 100:300])
    y.backward(torch.randn(1000, 200)[:, 50:150])
    assert len(seen) == 3
    assert all(weight.is_contiguous() or weight.t().is_contiguous() for weight in seen)


def test_only_where_it_is_allowed(asked: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(1000, 128), torch.randn(64, 128)
    assert goes_to_onednn(x, weight)
    assert not goes_to_onednn(x[:8], weight)
    assert not goes_to_onednn(x.view(10, 100, 128), weight)
    assert not goes_to_onednn(x.double(), weight.double())
    assert not goes_to_onednn(x.to("meta"), weight.to("meta"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert product(x, weight).dtype == torch.bfloat16
    asked.setenv("GRAPHREC_ONEDNN", "0")
    products._wanted.cache_clear()
    assert not goes_to_onednn(x, weight)


@pytest.mark.parametrize(("vendor", "wanted"), [("AuthenticAMD", True), ("GenuineIntel", False)])
def test_the_processor_decides(vendor: str, wanted: bool, asked: pytest.MonkeyPatch) -> None:
    asked.delenv("GRAPHREC_ONEDNN")
    asked.setattr(products, "_vendor", lambda: vendor)
    products._wanted.cache_clear()
    assert products._wanted() is wanted


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("make", [lambda: MLP(128, [96, 64], out=3), lambda: Linear(128, 96)])
def test_layers_train_the_same_again(make) -> None:
    def trained() -> list[Tensor]:
        torch.manual_seed(0)
        layer: nn.Module = make()
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            layer(torch.randn(512, 128)).square().mean().backward()
            optimizer.step()
        return [p.detach() for p in layer.parameters()]

    first, second = trained(), trained()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.usefixtures("asked")
def test_compiled_and_exported_programs_keep_torchs_operator() -> None:
    rows = torch.export.Dim("rows")
    shapes = ({0: rows},)
    program = torch.export.export(Linear(128, 96), (torch.randn(512, 128),), dynamic_shapes=shapes)
    assert "mkldnn" not in str(program.graph)
    assert program.module()(torch.zeros(9, 128)).shape == (9, 96)


@pytest.mark.parametrize("onednn", ["0", "1"])
@pytest.mark.parametrize("shape", [(2048, 64, 40), (300, 129, 77), (4096, 40, 200)])
def test_rectified_layers(
    asked: pytest.MonkeyPatch, onednn: str, shape: tuple[int, ...], compiled: bool
) -> None:
    asked.setenv("GRAPHREC_ONEDNN", onednn)
    products._wanted.cache_clear()
    if not compiled:
        asked.setattr(products, "passes", lambda: None)
    torch.manual_seed(0)
    rows, depth, width = shape
    x, weight, bias = torch.randn(rows, depth), torch.randn(width, depth), torch.randn(width)
    found = []
    for dtype in (torch.float32, torch.float64):
        given = [t.to(dtype).requires_grad_() for t in (x, weight, bias)]
        y = product(*given, rectified=True)
        chosen = y[:, ::2] if width % 2 else y  # gradients with zeros, and of other strides
        found.append((y.detach(), *torch.autograd.grad(chosen.square().sum(), given)))
    for a, b in zip(*found, strict=True):
        assert ((a.double() - b).norm() / b.norm()).item() < 2e-6


def test_rectified_layers_under_autocast(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiled:
        monkeypatch.setattr(products, "passes", lambda: None)
    torch.manual_seed(0)
    layer = MLP(96, [128])
    x = torch.randn(1024, 96)
    weight, bias = layer.layers[0].weight, layer.layers[0].bias
    given = x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(given)
        assert products._pays(x, weight) == compiled
    assert y.dtype == torch.bfloat16
    ours = (y.detach(), *torch.autograd.grad(y.float().square().sum(), [given, weight, bias]))
    exact = [t.detach().bfloat16().double().requires_grad_() for t in (x, weight, bias)]
    z = torch.relu(F.linear(*exact))
    expected = (z.detach(), *torch.autograd.grad(z.square().sum(), exact))
    for a, b, given_type in zip(
        ours, expected, (torch.bfloat16, *[torch.float32] * 3), strict=True
    ):
        assert a.dtype == given_type
        assert ((a.double() - b).norm() / b.norm()).item() < 8e-3


def test_nan_goes_through_a_rectified_layer() -> None:
    x, weight = torch.randn(1024, 64, requires_grad=True), torch.randn(64, 64)
    with torch.no_grad():
        x[3, 5] = float("nan")
    y = product(x, weight, rectified=True)
    assert y[3].isnan().all() and not y[4].isnan().any()
    (of_x,) = torch.autograd.grad(y.sum(), x)
    assert torch.isfinite(of_x).all()  # 1 goes back through the NaN, as in torch


def test_one_copy_for_all_readers() -> None:
    x = torch.randn(4, 3)
    assert cast_input(x) is x
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = cast_input(x)
        assert low.dtype == torch.bfloat16 and cast_input(low) is low
        assert cast_input(x.double()).dtype == torch.float64
