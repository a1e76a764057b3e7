"""Interests by dynamic routing, against the paper's loop over rows, steps and interests."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from graphrec.nn import Interests, Pooling
from graphrec.nn.batch import Jagged
from graphrec.nn.functions import spread

LENGTHS = [3, 0, 1, 5]


def by_hand(layer: Interests, history: Tensor) -> Tensor:
    """The interests [K, D'] of one history [L, D]: Li et al. (2019), algorithm 1."""
    votes = [layer.votes.weight @ step for step in history]
    places = layer.get_buffer("start").shape[0]
    logits = [
        layer.get_buffer("start")[min(len(history) - 1 - i, places - 1)].clone()
        for i in range(len(history))
    ]
    interests = torch.zeros(layer.number, layer.votes.weight.shape[0])
    for _ in range(layer.iterations):
        weights = [torch.softmax(one, 0) for one in logits]
        whole = []
        for j in range(layer.number):
            z = sum((w[j] * v for w, v in zip(weights, votes, strict=True)), torch.zeros(5))
            length = z.norm()
            whole.append(length**2 / (1 + length**2) * z / (length + 1e-12))
        interests = torch.stack(whole)
        for i, vote in enumerate(votes):
            logits[i] = logits[i] + torch.stack([u @ vote for u in interests])
    return interests


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_it_is_the_paper_s_routing(iterations: int) -> None:
    torch.manual_seed(0)
    layer = Interests(4, width=5, number=3, iterations=iterations, places=3)
    steps = torch.randn(sum(LENGTHS), 4)
    found = layer(Jagged(steps, torch.tensor(LENGTHS)))
    start = 0
    for row, length in enumerate(LENGTHS):
        expected = by_hand(layer, steps[start : start + length])
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)
        start += length


def test_gradients_are_exact_where_routing_is_constant() -> None:
    torch.manual_seed(0)
    layer = Interests(4, number=2, width=3, iterations=1).double()
    steps = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([3, 1])
    assert torch.autograd.gradcheck(lambda x: layer(Jagged(x, lengths)), (steps,))


def test_a_long_history_splits_into_its_kinds() -> None:
    """Steps of two kinds that point apart end in different interests."""
    torch.manual_seed(1)
    layer = Interests(2, number=2, width=2, iterations=8)
    with torch.no_grad():
        layer.votes.weight.copy_(torch.eye(2))
    steps = torch.tensor([[4.0, 0.0], [0.0, 4.0]]).repeat(5, 1)
    one, other = layer(Jagged(steps, torch.tensor([10])))[0]
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) < 0.2


def test_the_newest_step_of_a_history() -> None:
    steps = torch.arange(18.0).reshape(9, 2)
    found = Pooling("last")(Jagged(steps, torch.tensor(LENGTHS)))
    assert found.tolist() == [steps[2].tolist(), [0.0, 0.0], steps[3].tolist(), steps[8].tolist()]


def test_a_row_is_spread_over_fields() -> None:
    row, several = torch.randn(2, 3), torch.randn(2, 4, 5)
    assert torch.equal(spread(row, several), row[:, None].repeat(1, 4, 1))
