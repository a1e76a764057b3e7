"""Sampled softmax against loops in plain Python, row by row and item by item."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from graphrec.nn.batch import Batch, Compared
from graphrec.nn.sampled_softmax import sampled_softmax

ROWS, ITEMS, WIDTH = 5, 9, 4


def pairs(*found: tuple[int, int]) -> Tensor:
    return torch.tensor(found, dtype=torch.int64).reshape(-1, 2)


def compared(**changes: Tensor) -> Compared:
    torch.manual_seed(1)
    parts = {
        "own": torch.tensor([0, 3, 3, 8, 5]),
        "shared": torch.tensor([True, True, False, True, True, False, True, True, False]),
        "log_q": -torch.rand(ITEMS) * 3,
        "hard": pairs((0, 2), (4, 2), (1, 8)),
        "hidden": pairs((0, 1), (2, 3), (3, 4), (4, 2)),
        **changes,
    }
    return Compared(Batch({}), **parts)


def by_hand(
    query: Tensor, item: Tensor, c: Compared, temperature: float, logq: bool, power: float
) -> list[float]:
    losses = []
    hard, hidden = ({tuple(pair) for pair in part.tolist()} for part in (c.hard, c.hidden))
    for row in range(len(query)):
        own = int(c.own[row])
        vector = query[row]
        if vector.dim() == 2:
            odds = [math.exp(power * float(one @ item[own])) for one in vector]
            vector = sum(w * one for w, one in zip(odds, vector, strict=True)) / sum(odds)
        scores = {}
        for number in range(len(item)):
            negative = bool(c.shared[number]) or (row, number) in hard
            if number == own or (negative and (row, number) not in hidden):
                score = float(vector @ item[number]) / temperature
                scores[number] = score - (float(c.log_q[number]) if logq else 0.0)
        total = sum(math.exp(score) for score in scores.values())
        losses.append(math.log(total) - scores[own])
    return losses


@pytest.mark.parametrize("interests", [None, 1, 3])
@pytest.mark.parametrize(("temperature", "logq", "power"), [(1.0, True, 1.0), (0.3, False, 2.5)])
def test_it_is_the_sum_by_hand(
    interests: int | None, temperature: float, logq: bool, power: float
) -> None:
    shape = (ROWS, WIDTH) if interests is None else (ROWS, interests, WIDTH)
    c = compared()
    query, item = torch.randn(shape).double(), torch.randn(ITEMS, WIDTH).double()
    losses = sampled_softmax(query, item, c, temperature, logq, power)
    expected = torch.tensor(by_hand(query, item, c, temperature, logq, power))
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)


def test_gradients_reach_what_a_row_is_compared_with_and_nothing_else() -> None:
    c = compared(hard=pairs((0, 2)), hidden=pairs((0, 1)))
    query = torch.randn(ROWS, WIDTH, requires_grad=True)
    item = torch.randn(ITEMS, WIDTH, requires_grad=True)
    sampled_softmax(query, item, c)[0].backward()
    assert query.grad is not None and item.grad is not None
    reached = {number for number in range(ITEMS) if item.grad[number].abs().sum() > 0}
    assert reached == {0, 2, 3, 4, 6, 7}, "shared ones but the hidden, its hard one, its own"
    assert {row for row in range(ROWS) if query.grad[row].abs().sum() > 0} == {0}


def test_over_all_items_without_correction_it_is_cross_entropy() -> None:
    everything = torch.ones(ITEMS, dtype=torch.bool)
    c = compared(shared=everything, hard=pairs(), hidden=pairs())
    query, item = torch.randn(ROWS, WIDTH), torch.randn(ITEMS, WIDTH)
    losses = sampled_softmax(query, item, c, logq=False)
    expected = torch.nn.functional.cross_entropy(query @ item.t(), c.own, reduction="none")
    torch.testing.assert_close(losses, expected)


def test_a_row_with_nothing_to_compare_costs_nothing() -> None:
    c = compared(shared=torch.zeros(ITEMS, dtype=torch.bool), hard=pairs(), hidden=pairs())
    losses = sampled_softmax(torch.randn(ROWS, WIDTH), torch.randn(ITEMS, WIDTH), c)
    assert losses.tolist() == [0.0] * ROWS
