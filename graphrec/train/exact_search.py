"""Search among all items, block by block: ranks of given items, and the best k.

Scores are sums of products in double precision, rounded to single: then equal vectors have equal
scores wherever they stand, and no way of adding changes who is before whom.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["BLOCK", "best", "ranks", "scores_of"]

BLOCK = 1 << 22
"""Scores held at a time."""


def scores_of(query: Tensor, item: Tensor) -> Tensor:
    """Scores [B, N] of queries [B, D] or [B, K, D] (the best of K interests) and items [N, D]."""
    scores = (query.double() @ item.double().t()).float()
    return scores if scores.dim() == 2 else scores.amax(dim=1)


def ranks(query: Tensor, items: Tensor, own: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Ranks [B] of the items `own` [B] among all, from 1, and how many others score the same [B].

    Who is tied stands before: a rank is 1 + the number of other items with an equal or a higher
    score, so that a model which tells nothing apart finds nothing. `hidden` [M, 2] are pairs of a
    row and an item that is no result of it; a row whose own item is hidden has rank N + 1.
    """
    rank = torch.ones(len(query), dtype=torch.int64)
    ties = torch.zeros(len(query), dtype=torch.int64)
    # of the same product as the others: each row's own score stands in one of the blocks
    score = torch.empty(len(query))
    blocks = list(_blocks(query, items))
    for start, stop in blocks:
        inside = (own >= start) & (own < stop)
        rows = inside.nonzero().view(-1)
        if len(rows):
            part = scores_of(query[rows], items[start:stop])
            score[rows] = part[torch.arange(len(rows)), own[rows] - start]
    for start, stop in blocks:
        part = scores_of(query, items[start:stop])
        _hide(part, hidden, start, stop)
        inside = (own >= start) & (own < stop)
        rows = inside.nonzero().view(-1)
        part[rows, own[rows] - start] = -torch.inf
        before, same = part > score[:, None], part == score[:, None]
        ties += same.sum(1)
        rank += before.sum(1) + same.sum(1)
    lost = hidden[:, 0][hidden[:, 1] == own[hidden[:, 0]]]
    rank[lost], ties[lost] = len(items) + 1, 0
    return rank, ties


def best(query: Tensor, items: Tensor, k: int, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and places [B, k] of the best items, of equal ones the first; hidden ones last.

    There are fewer columns where there are fewer items; a hidden item has score -inf.
    """
    values = torch.empty(len(query), 0)
    places = torch.empty(len(query), 0, dtype=torch.int64)
    for start, stop in _blocks(query, items):
        part = scores_of(query, items[start:stop])
        _hide(part, hidden, start, stop)
        number = torch.arange(start, stop).expand_as(part)
        values = torch.cat([values, part], dim=1)
        places = torch.cat([places, number], dim=1)
        order = values.argsort(dim=1, descending=True, stable=True)[:, :k]
        values, places = values.gather(1, order), places.gather(1, order)
    return values, places


def _blocks(query: Tensor, items: Tensor) -> Iterator[tuple[int, int]]:
    interests = query.shape[1] if query.dim() == 3 else 1
    size = max(1, BLOCK // max(len(query) * interests, 1))
    for start in range(0, len(items), size):
        yield start, min(start + size, len(items))


def _hide(scores: Tensor, hidden: Tensor, start: int, stop: int) -> None:
    within = hidden[(hidden[:, 1] >= start) & (hidden[:, 1] < stop)]
    scores[within[:, 0], within[:, 1] - start] = -torch.inf
