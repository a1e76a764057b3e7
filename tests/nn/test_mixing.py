"""Experts mixed by gates: the compiled passes and torch's operators against float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from graphrec.nn import mixing
from graphrec.nn.mixing import mix, mix_all
from graphrec.nn.native.passes import passes

SHAPES = [(50, 1, 3, 16), (33, 2, 4, 7), (9, 4, 1, 130), (200, 3, 8, 64), (0, 2, 2, 4)]


@pytest.fixture(params=[True, False], ids=["compiled", "torch"])
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param and passes() is None:
        pytest.skip("nothing can be compiled here")
    if not request.param:
        monkeypatch.setattr(mixing, "passes", lambda: None)
    return bool(request.param)


def run(logits: Tensor, experts: list[Tensor]) -> list[Tensor]:
    """Outputs, and gradients where each output has weights of its own."""
    given = [logits.detach().requires_grad_(), *(e.detach().requires_grad_() for e in experts)]
    outs = mix_all(given[0], given[1:])
    terms = [(out.double() * (t + 1)).square().sum() for t, out in enumerate(outs)]
    return [out.detach() for out in outs] + list(torch.autograd.grad(sum(terms), given))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "gates", "count", "dim"), SHAPES)
def test_equal_to_float64(
    rows: int, gates: int, count: int, dim: int, dtype: torch.dtype, compiled: bool
) -> None:
    torch.manual_seed(0)
    logits = torch.randn(rows, gates, count).to(dtype)
    wide = torch.randn(rows, count, dim).to(dtype)
    experts = list(wide.unbind(1))  # rows with gaps between them
    weights = torch.softmax(logits, 2, dtype=torch.float32)
    assert (mixing._passes_for(weights, experts) is not None) == compiled
    exact = run(logits.double(), [expert.double() for expert in experts])
    limit = 2e-5 if dtype == torch.float32 else 1e-2
    for ours, theirs in zip(run(logits, experts), exact, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == dtype
        assert ((ours.double() - theirs).norm() <= limit * theirs.norm()).item()


def test_an_output_without_a_gradient() -> None:
    logits = torch.randn(5, 2, 3)
    experts = [torch.randn(5, 4, requires_grad=True) for _ in range(3)]
    used, _ = mix_all(logits, experts)
    found = torch.autograd.grad(used.sum(), experts)
    for k, of_expert in enumerate(found):
        weights = torch.softmax(logits[:, 0], 1)[:, k : k + 1]
        torch.testing.assert_close(of_expert, weights.expand(-1, 4))


def test_one_gate_and_other_types() -> None:
    logits, experts = torch.randn(6, 2), [torch.randn(6, 3) for _ in range(2)]
    (expected,) = mix_all(logits[:, None], experts)
    assert torch.equal(mix(logits, experts), expected)
    weights = torch.softmax(logits[:, None], 2)
    for other in (
        [experts[0], experts[1].bfloat16()],
        [expert.double() for expert in experts],
        [expert.to("meta") for expert in experts],
        [experts[0], torch.randn(3, 6).t()],
    ):
        assert mixing._passes_for(weights.to(other[0].device), other) is None
