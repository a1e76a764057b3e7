"""Ranks and best items against a brute-force reference, to the last hit; ties and hidden items."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from graphrec.recipe.calls import parse_call
from graphrec.train import exact_search
from graphrec.train.exact_search import best, ranks
from graphrec.train.retrieval_scores import gain

ROWS, ITEMS, WIDTH = 23, 57, 8


@pytest.fixture(params=[1, 40, 1 << 22], ids=["an item at a time", "few", "all"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_search, "BLOCK", request.param)


def vectors(interests: int | None) -> tuple[Tensor, Tensor]:
    """With many equal items: every third is one that was there before."""
    torch.manual_seed(5)
    query = torch.randn(ROWS, WIDTH) if interests is None else torch.randn(ROWS, interests, WIDTH)
    item = torch.randn(ITEMS, WIDTH)
    item[::3] = item[0]
    return query, item


def reference(query: Tensor, item: Tensor, hidden: set[tuple[int, int]]) -> np.ndarray:
    """Scores [B, N] by one product a pair; hidden ones are minus infinity."""
    scores = np.empty((len(query), len(item)), np.float32)
    for row, one in enumerate(query.double().numpy()):
        for place, other in enumerate(item.double().numpy()):
            found = [float((vector * other).sum()) for vector in np.atleast_2d(one)]
            scores[row, place] = -np.inf if (row, place) in hidden else np.float32(max(found))
    return scores


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("interests", [None, 3])
def test_ranks_and_best_are_those_of_brute_force(interests: int | None) -> None:
    query, item = vectors(interests)
    own = torch.arange(ROWS) * 2 % ITEMS
    hidden = {(row, place) for row in range(ROWS) for place in range(row % 5)}
    pairs = torch.tensor(sorted(hidden))
    scores = reference(query, item, hidden)
    rank, ties = ranks(query, item, own, pairs)
    for row in range(ROWS):
        mine = int(own[row])
        if (row, mine) in hidden:
            assert int(rank[row]) == ITEMS + 1
            continue
        others = np.delete(scores[row], mine)
        assert int(rank[row]) == 1 + int((others >= scores[row, mine]).sum())
        assert int(ties[row]) == int((others == scores[row, mine]).sum())
    values, places = best(query, item, 10, pairs)
    for row in range(ROWS):
        order = sorted(range(ITEMS), key=lambda place: (-scores[row, place], place))
        assert places[row].tolist() == order[:10]
        assert values[row].tolist() == [scores[row, place] for place in order[:10]]


def test_a_model_that_tells_nothing_apart_finds_nothing() -> None:
    query, item = torch.ones(ROWS, WIDTH), torch.ones(ITEMS, WIDTH)
    rank, ties = ranks(query, item, torch.zeros(ROWS, dtype=torch.int64), torch.empty(0, 2).long())
    assert rank.tolist() == [ITEMS] * ROWS
    assert ties.tolist() == [ITEMS - 1] * ROWS


def test_metrics_of_ranks() -> None:
    rank = torch.tensor([1, 2, 3, 10, 11])
    cases = {
        "recall(3)": [1, 1, 1, 0, 0],
        "hit(10)": [1, 1, 1, 1, 0],
        "ndcg(2)": [1, 1 / np.log2(3), 0, 0, 0],
        "mrr": [1, 1 / 2, 1 / 3, 1 / 10, 1 / 11],
        "mrr(3)": [1, 1 / 2, 1 / 3, 0, 0],
    }
    for text, expected in cases.items():
        np.testing.assert_allclose(gain(parse_call(text), rank).numpy(), expected, rtol=1e-15)
