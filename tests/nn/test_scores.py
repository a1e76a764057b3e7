"""Scores of one history's steps for all candidates: the compiled kernel against torch, and float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from graphrec.nn import prepare, shared_history
from graphrec.nn.native.scores import score_kernel
from graphrec.nn.sequence import DIN


@pytest.fixture(autouse=True)
def _compiled() -> None:
    if score_kernel() is None:
        pytest.skip("nothing can be compiled here")


def layer_of(query: int, keys: int, hidden: list[int], **settings: Any) -> DIN:
    torch.manual_seed(sum(hidden))
    layer = DIN(query, keys, hidden, **settings)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn_like(parameter) / 3)
    return layer


@torch.no_grad()
def scored(layer: DIN, query: Tensor, steps: Tensor) -> Tensor:
    return layer.eval().scores_of_one(query, steps)


CASES = [
    ((32, 32, [64, 32]), {}),
    ((5, 8, [20, 7]), {}),
    ((16, 16, [80, 40]), {"bias": False}),
    ((3, 3, [1]), {}),
    ((12, 20, [130, 70, 33]), {}),
]


@pytest.mark.parametrize(("sizes", "settings"), CASES)
@pytest.mark.parametrize(("candidates", "steps"), [(500, 50), (7, 3), (48, 1), (100, 9)])
def test_equal_to_torch(
    sizes: Any, settings: dict[str, Any], candidates: int, steps: int, monkeypatch: Any
) -> None:
    layer = layer_of(*sizes, **settings)
    query, keys = torch.randn(candidates, sizes[0]), torch.randn(steps, sizes[1])
    called = []
    kernel = score_kernel()
    assert kernel is not None
    plain = kernel.scores
    monkeypatch.setattr(kernel, "scores", lambda *given: called.append(1) or plain(*given))
    ours = scored(layer, query, keys)
    assert called
    exact = scored(layer.double(), query.double(), keys.double())
    torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-4)
    monkeypatch.setattr(shared_history, "score_kernel", lambda: None)
    theirs = scored(layer.float(), query, keys)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


def test_threads_and_nan() -> None:
    layer = layer_of(8, 8, [24, 16])
    query, keys = torch.randn(60, 8), torch.randn(11, 8)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(scored(layer, query, keys))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*found)
    keys[4, 2] = float("nan")
    query[50, 1] = float("nan")
    nan = scored(layer, query, keys).isnan()
    expected = torch.zeros(60, 11, dtype=torch.bool)
    expected[50], expected[:, 4] = True, True
    assert torch.equal(nan, expected)


def test_prepared_batch_norm_is_known() -> None:
    layer = layer_of(8, 8, [24, 16], norm="batch").eval()
    query, keys = torch.randn(60, 8), torch.randn(11, 8)
    expected = scored(layer, query, keys)
    assert shared_history._fused(query, list(layer.mlp.layers)) is None
    prepared = prepare(layer)
    with torch.no_grad():
        assert shared_history._fused(query, list(prepared.mlp.layers)) is not None
    torch.testing.assert_close(scored(prepared, query, keys), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("activation", ["sigmoid", "dice", "prelu"])
def test_other_activations_go_to_torch(activation: str) -> None:
    layer = layer_of(8, 8, [24], activation=activation).eval()
    with torch.no_grad():
        assert shared_history._fused(torch.randn(5, 8), list(layer.mlp.layers)) is None
