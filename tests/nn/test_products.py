"""Products by oneDNN: equal to torch's, chosen only where they are allowed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.nn import products
from graphrec.nn.dense import MLP, Linear
from graphrec.nn.products import goes_to_onednn, product


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
