"""Target attention (DIN) by hand, twice: as the paper's code has it, and as well as one can.

Both take a query [B, D], steps [B, L, D] padded with zeros, or [T, D] without padding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.pieces import perceptron

__all__ = ["PlainDIN", "SplitDIN"]


class PlainDIN(nn.Module):
    """Scores of padded [q, k, q - k, q * k], masked softmax, weighted sum."""

    def __init__(self, width: int, hidden: list[int]) -> None:
        super().__init__()
        self.mlp = perceptron(4 * width, hidden)
        self.out = nn.Linear(hidden[-1], 1)

    def forward(self, query: Tensor, keys: Tensor, lengths: Tensor) -> Tensor:
        queries = query.unsqueeze(1).expand(-1, keys.shape[1], -1)
        pairs = torch.cat([queries, keys, queries - keys, queries * keys], dim=-1)
        scores = self.out(self.mlp(pairs)).squeeze(-1)
        padding = torch.arange(keys.shape[1]) >= lengths.unsqueeze(1)
        weights = scores.masked_fill(padding, -1e9).softmax(dim=1)
        return torch.bmm(weights.unsqueeze(1).to(keys.dtype), keys).squeeze(1)


class SplitDIN(PlainDIN):
    """The first layer split by its four inputs, real steps only; lengths are 1 or more."""

    def forward(self, query: Tensor, keys: Tensor, lengths: Tensor) -> Tensor:
        rows = torch.repeat_interleave(torch.arange(len(lengths)), lengths, output_size=len(keys))
        first, last = self.mlp[0], self.mlp[1:]
        q, k, d, p = first.weight.chunk(4, dim=1)
        of_query = F.linear(query, q + d, first.bias).index_select(0, rows)
        product = query.index_select(0, rows) * keys
        scores = self.out(last(of_query + F.linear(keys, k - d) + F.linear(product, p)))
        scores = scores.squeeze(-1).float()
        top = scores.detach().new_full((len(lengths),), -torch.inf)
        top = top.scatter_reduce(0, rows, scores.detach(), "amax")
        powers = torch.exp(scores - top.index_select(0, rows))
        total = torch.zeros_like(top).index_add(0, rows, powers)
        weighted = (powers / total.index_select(0, rows)).unsqueeze(-1) * keys
        return torch.zeros_like(query).index_add(0, rows, weighted)
