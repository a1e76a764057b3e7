"""How well a retriever finds: metrics by exact search over all items."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from graphrec.data.items import Items
from graphrec.nn.batch import Batch
from graphrec.recipe.calls import Call
from graphrec.recipe.model import Retrieval
from graphrec.recipe.retrieval import RETRIEVAL, cut_of
from graphrec.recipe.tasks import key
from graphrec.train.exact_search import BLOCK, ranks, scores_of
from graphrec.train.retrieval_loss import wanted

__all__ = ["RetrievalScores", "gain", "item_vectors"]

_ITEMS = 8192
"""Items encoded at a time."""


class RetrievalScores:
    """Metrics over the rows of one evaluation; every row that wanted its item is a query.

    With one wanted item a row, recall(k) and hit(k) are the share of rows whose item is among the
    first k, ndcg(k) the mean of 1 / log2(1 + rank) over those and 0 for others, mrr the mean of
    1 / rank. `loss` is the cross entropy over all items: nothing is sampled here.
    """

    def __init__(self, retrieval: Retrieval, items: Items, module: nn.Module, device: torch.device):
        self.retrieval, self.items = retrieval, items
        self.vectors = item_vectors(module, items, device)
        self.sums = dict.fromkeys(retrieval.metrics, 0.0)
        self.rows, self.tied, self.loss = 0, 0, 0.0

    def add(self, query: Tensor, batch: Batch) -> None:
        """Count the rows of one batch by their vectors."""
        counts = wanted(batch, self.items.key).cpu()
        own = torch.from_numpy(self.items.own(batch.columns, counts.numpy()))
        hidden = torch.from_numpy(self.items.seen(batch.features))
        at = counts.nonzero().view(-1)
        number = counts.long().cumsum(0) - 1
        hidden = hidden[counts[hidden[:, 0]]]
        hidden = torch.stack([number[hidden[:, 0]], hidden[:, 1]], dim=1)
        query, own = query.detach().float().cpu()[at], own[at]
        rank, ties = ranks(query, self.vectors, own, hidden)
        for call in self.sums:
            self.sums[call] += float(gain(call, rank).sum())
        self.rows += len(rank)
        self.tied += int((ties > 0).sum())
        self.loss += float(self._losses(query, own).sum())

    def values(self) -> Mapping[str, float | None]:
        """Numbers by their names in a record; `ties`: the share of rows that others equal."""
        rows = self.rows
        means = {
            key(RETRIEVAL, call): total / rows if rows else None
            for call, total in self.sums.items()
        }
        return {
            key(RETRIEVAL, "loss"): self.loss / rows if rows else None,
            **means,
            key(RETRIEVAL, "ties"): self.tied / rows if rows else None,
        }

    def _losses(self, query: Tensor, own: Tensor) -> Tensor:
        """Cross entropy of every row's item among all [B]."""
        temperature = self.retrieval.softmax.temperature
        size = max(
            1, BLOCK // max(len(self.vectors) * (query.shape[1] if query.dim() == 3 else 1), 1)
        )
        parts = []
        for start in range(0, len(query), size):
            scores = scores_of(query[start : start + size], self.vectors).double() / temperature
            mine = scores.gather(1, own[start : start + size, None])[:, 0]
            parts.append(scores.logsumexp(1) - mine)
        return torch.cat(parts) if parts else torch.zeros(0)


def gain(call: Call, rank: Tensor) -> Tensor:
    """What a row with this rank [B] adds to a metric [B], in double precision."""
    cut, value = cut_of(call), rank.double()
    inside = value <= (math.inf if cut is None else cut)
    scores_by_name: Mapping[str, Callable[[], Tensor]] = {
        "recall": lambda: torch.ones_like(value),
        "hit": lambda: torch.ones_like(value),
        "ndcg": lambda: 1.0 / torch.log2(1.0 + value),
        "mrr": lambda: 1.0 / value,
    }
    return torch.where(inside, scores_by_name[call.name](), 0.0)


def item_vectors(module: nn.Module, items: Items, device: torch.device) -> Tensor:
    """The vectors of all items [N, D] on the CPU, in their order."""
    encode: Callable[[Batch], Tensor] = module.encode_item  # type: ignore[assignment]
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            blocks = items.blocks(_ITEMS)
            return torch.cat([encode(batch.to(device)).float().cpu() for batch in blocks])
    finally:
        module.train(training)
