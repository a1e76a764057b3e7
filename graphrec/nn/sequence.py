"""Layers over histories: target attention, pooling. Jagged inside, no padding.

Keys are a `Jagged` (values [T, D]) or fields [B, N, D]; a query is [B, Dq] with Dq <= D and counts
as padded with zeros. A row without steps gives zeros. In evaluation one row of keys may stand for
the same history in all rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.nn.batch import Jagged
from graphrec.nn.segments import (
    as_jagged,
    segment_softmax,
    segment_softmax_sum,
    segment_sum,
)
from graphrec.nn.shared_history import attended, is_one
from graphrec.nn.step_scores import Scorer

__all__ = [
    "DIN",
    "AttentionScores",
    "DotAttention",
    "Pooling",
    "WeightedSum",
]


class DIN(Scorer):
    """Target attention: sum of softmax(a_t) s_t with a_t = MLP([q, s_t, q - s_t, q * s_t]); [B, D].

    Keys: those of an MLP with a last Linear to 1, `mlp.*`. `attention_dropout` drops weights of the
    softmax. Zhou et al., Deep Interest Network for Click-Through Rate Prediction, KDD 2018.
    """

    def __init__(
        self,
        query_features: int,
        key_features: int,
        hidden: Sequence[int],
        activation: str = "relu",
        norm: str = "none",
        dropout: float | Sequence[float] = 0.0,
        bias: bool = True,
        norm_padding: str = "exclude",
        attention_dropout: float = 0.0,
    ) -> None:
        common = (activation, norm, dropout, bias, norm_padding)
        super().__init__(query_features, key_features, hidden, *common)
        self.attention_dropout = attention_dropout

    def forward(self, query: Tensor, keys: Tensor | Jagged) -> Tensor:
        steps = as_jagged(keys)
        if is_one(query, steps):
            return attended(self.scores_of_one(query, steps.values), steps.values)
        rows = steps.rows()
        scores = self.scores(query, steps, rows)
        if self.training and self.attention_dropout:
            weights = segment_softmax(scores, rows, steps.num_rows)
            weights = F.dropout(weights, self.attention_dropout).unsqueeze(-1)
            return segment_sum(weights * steps.values, rows, steps.num_rows)
        return segment_softmax_sum(scores, steps.values, rows, steps.num_rows)


class AttentionScores(Scorer):
    """The attention of `DIN` before the sum: a number per step, [T, 1], by default its softmax."""

    def __init__(
        self,
        query_features: int,
        key_features: int,
        hidden: Sequence[int],
        activation: str = "relu",
        norm: str = "none",
        dropout: float | Sequence[float] = 0.0,
        bias: bool = True,
        norm_padding: str = "exclude",
        softmax: bool = True,
    ) -> None:
        common = (activation, norm, dropout, bias, norm_padding)
        super().__init__(query_features, key_features, hidden, *common)
        self.softmax = softmax

    def forward(self, query: Tensor, keys: Tensor | Jagged) -> Tensor | Jagged:
        steps = as_jagged(keys)
        if is_one(query, steps):
            return self._of_one(query, steps, keys)
        rows = steps.rows()
        scores = self.scores(query, steps, rows)
        if self.softmax:
            scores = segment_softmax(scores, rows, steps.num_rows)
        if isinstance(keys, Jagged):
            return keys.replace(scores.unsqueeze(-1))
        return scores.reshape(*keys.shape[:2], 1)

    def _of_one(self, query: Tensor, steps: Jagged, keys: Tensor | Jagged) -> Tensor | Jagged:
        scores = self.scores_of_one(query, steps.values)
        if self.softmax:
            scores = torch.softmax(scores, dim=1)
        if isinstance(keys, Jagged):
            return Jagged(scores.reshape(-1, 1), keys.lengths.expand(query.shape[0]))
        return scores.unsqueeze(-1)


class WeightedSum(nn.Module):
    """Sum of w_t v_t over the steps of a row; weights [T, 1], values [T, D], result [B, D]."""

    def forward(self, weights: Tensor | Jagged, values: Tensor | Jagged) -> Tensor:
        factors, steps = as_jagged(weights), as_jagged(values)
        if steps.num_rows == 1:
            return factors.values.view(factors.num_rows, steps.values.shape[0]) @ steps.values
        return segment_sum(factors.values * steps.values, steps.rows(), steps.num_rows)


class DotAttention(nn.Module):
    """Target attention with a_t = s_t . q (not scaled): sum of softmax(a_t) s_t, [B, D]."""

    def forward(self, query: Tensor, keys: Tensor | Jagged) -> Tensor:
        steps = as_jagged(keys)
        met = steps.values[:, : query.shape[1]]
        if is_one(query, steps):
            return attended(query @ met.t(), steps.values)
        rows = steps.rows()
        scores = (query.index_select(0, rows) * met).sum(-1)
        return segment_softmax_sum(scores, steps.values, rows, steps.num_rows)


class Pooling(nn.Module):
    """Mean, sum, maximum or the newest of the steps of a row, [B, D]; without steps zeros."""

    def __init__(self, mode: str = "mean") -> None:
        super().__init__()
        if mode not in ("mean", "sum", "max", "last"):
            raise ValueError(f"unknown mode `{mode}`; there are mean, sum, max, last")
        self.mode = mode

    def forward(self, keys: Tensor | Jagged) -> Tensor:
        steps = as_jagged(keys)
        if self.mode == "max":
            rows = steps.rows().unsqueeze(1).expand_as(steps.values)
            least = steps.values.new_zeros(steps.num_rows, steps.values.shape[1])
            return least.scatter_reduce(0, rows, steps.values, "amax", include_self=False)
        if self.mode == "last":
            ends = (steps.lengths.cumsum(0) - 1).clamp(min=0)
            padded = torch.cat([steps.values, steps.values.new_zeros(1, steps.values.shape[1])])
            return padded[torch.where(steps.lengths > 0, ends, steps.values.shape[0])]
        total = segment_sum(steps.values, steps.rows(), steps.num_rows)
        if self.mode == "sum":
            return total
        return total / steps.lengths.clamp(min=1).unsqueeze(-1)

    def extra_repr(self) -> str:
        return self.mode
