"""Layers over histories: target attention, windows, pooling. Jagged inside, no padding.

Keys are a `Jagged` (values [T, D]) or fields [B, N, D]; a query is [B, Dq] with Dq <= D and counts
as padded with zeros. A row without steps gives zeros. In evaluation one row of keys may stand for
the same history in all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.nn.batch import Jagged
from graphrec.nn.dense import MLP, Dense, Linear
from graphrec.nn.products import goes_to_onednn, product
from graphrec.nn.segments import (
    as_jagged,
    padded,
    places,
    segment_softmax,
    segment_softmax_sum,
    segment_sum,
)
from graphrec.nn.shared_history import attended, is_one
from graphrec.nn.shared_history import scores as scores_of_one

__all__ = [
    "DIN",
    "AttentionScores",
    "DotAttention",
    "MultiWindowDIN",
    "Pooling",
    "WeightedSum",
]


def _score(
    mlp: MLP,
    query: Tensor,
    steps: Jagged,
    rows: Tensor,
    parts: tuple[Tensor, Tensor, Tensor],
    norm_padding: str,
) -> Tensor:
    """The MLP over query, keys and their product, [T, 1], without the textbook's four parts.

    `parts` are the first layer's weights [H, D] that meet the query, the keys and the product.
    What the query gives is computed once per row.
    """
    keys, count = steps.values, steps.values.shape[0]
    if norm_padding == "include" and mlp.training:
        keys, rows = padded(steps, rows)
    first, *rest = (cast(Dense, layer) for layer in mlp.layers)
    width = query.shape[1]
    of_query, of_keys, of_product = parts
    z = F.linear(query.to(of_query.dtype), of_query[:, :width], first.affine()[1])
    z = z.index_select(0, rows)
    # Autocast leaves in-place operations alone, so they get its type from the first product.
    keys, query = keys.to(z.dtype), query.to(z.dtype)
    met = query.index_select(0, rows) * keys[:, :width]
    of_met = of_product[:, :width]
    if goes_to_onednn(keys, of_keys):
        # It can't add to what is there at a good price: one product over both halves instead.
        z = product(torch.cat([keys, met], 1), torch.cat([of_keys, of_met], 1)).add_(z)
    else:
        z.addmm_(keys, of_keys.to(z.dtype).t())
        z.addmm_(met, of_met.to(z.dtype).t())
    z = first.finish(z)
    for layer in rest:
        z = layer(z)
    assert mlp.out is not None
    scores: Tensor = mlp.out(z[:count])
    return scores if first.ready is None else scores.to(steps.values.dtype)


def _scoring(
    in_features: int,
    hidden: Sequence[int],
    activation: str,
    norm: str,
    dropout: float | Sequence[float],
    bias: bool,
    kind: type[MLP] = MLP,
) -> MLP:
    """An MLP to one number; `bias` is that of its hidden layers."""
    mlp = kind(in_features, hidden, activation, norm, dropout, bias, out=1)
    if not bias:
        mlp.out = Linear(hidden[-1], 1)
    return mlp


def _first_weight(mlp: MLP) -> Tensor:
    return cast(Dense, mlp.layers[0]).affine()[0]


class _Scorer(nn.Module):
    """a_t = MLP([q, s_t, q - s_t, q * s_t]), one number per step.

    With W = [Wq, Ws, Wd, Wp], the first layer is q (Wq + Wd) + s (Ws - Wd) + (q * s) Wp: no
    concatenation, and the query's part once per row. Its weight is kept in the plain form
    [H, 4 D], so a checkpoint is that of the textbook layer. Batch statistics count real steps, and
    with norm_padding `include` also the padding up to the longest history of the batch.
    """

    perceptron: ClassVar[type[MLP]] = MLP
    """What scores; a kernel with other layers is a subclass."""

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
    ) -> None:
        super().__init__()
        if query_features > key_features:
            raise ValueError(f"a query of width {query_features} for keys of {key_features}")
        common = (activation, norm, dropout, bias)
        self.mlp = _scoring(4 * key_features, hidden, *common, self.perceptron)
        self.norm_padding = norm_padding

    def scores(self, query: Tensor, steps: Jagged, rows: Tensor) -> Tensor:
        """The scores of all steps, [T]."""
        parts = self._parts()
        return _score(self.mlp, query, steps, rows, parts, self.norm_padding).squeeze(-1)

    def scores_of_one(self, query: Tensor, steps: Tensor) -> Tensor:
        """The scores of one history's steps [L, D] for every query, [B, L]."""
        return scores_of_one(self.mlp, query, steps, self._parts())

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        query_part, key_part, difference, product = _first_weight(self.mlp).chunk(4, dim=1)
        return query_part + difference, key_part - difference, product


class DIN(_Scorer):
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


class AttentionScores(_Scorer):
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


class MultiWindowDIN(nn.Module):
    """Target attention in windows: mean of a_t s_t per window, side by side, then the query.

    a_t = PReLU(MLP([s_t, q * s_t, q])), no softmax; the result is [B, (windows + 1) D], the query
    padded to D. Windows follow each other from the first step kept. Of a history that is longer
    than all windows `keep` keeps the `first` or the `last` steps; without it that is a ValueError.
    """

    ends: Tensor

    def __init__(
        self,
        query_features: int,
        key_features: int,
        hidden: Sequence[int],
        windows: Sequence[int],
        activation: str = "relu",
        norm: str = "none",
        dropout: float | Sequence[float] = 0.0,
        bias: bool = True,
        norm_padding: str = "exclude",
        keep: str | None = None,
    ) -> None:
        super().__init__()
        if query_features > key_features:
            raise ValueError(f"a query of width {query_features} for keys of {key_features}")
        self.windows, self.keep, self.key_features = list(windows), keep, key_features
        self.mlp = _scoring(3 * key_features, hidden, activation, norm, dropout, bias)
        self.norm_padding = norm_padding
        self.act = nn.PReLU()
        ends = torch.tensor(self.windows).cumsum(0)
        self.register_buffer("ends", ends, persistent=False)

    def forward(self, query: Tensor, keys: Tensor | Jagged) -> Tensor:
        steps = as_jagged(keys)
        rows = steps.rows()
        key_part, product, query_part = _first_weight(self.mlp).chunk(3, dim=1)
        parts = (query_part, key_part, product)
        if is_one(query, steps):
            return self._of_one(query, steps, rows, parts)
        weights = self.act(_score(self.mlp, query, steps, rows, parts, self.norm_padding))
        place, lengths = self._cut(steps, rows)
        # One window more than there are takes what is cut.
        num_windows, num_rows = len(self.windows), steps.num_rows
        window = torch.searchsorted(self.ends, place, right=True)
        at = rows * (num_windows + 1) + torch.where(place < 0, num_windows, window)
        sums = segment_sum(weights * steps.values, at, num_rows * (num_windows + 1))
        sums = sums.reshape(num_rows, num_windows + 1, self.key_features)[:, :num_windows]
        means = (sums / self._counts(lengths).unsqueeze(-1)).flatten(1)
        return self._with_query(means, query)

    def _of_one(
        self, query: Tensor, steps: Jagged, rows: Tensor, parts: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor:
        weights = self.act(scores_of_one(self.mlp, query, steps.values, parts))  # [B, L]
        place, lengths = self._cut(steps, rows)
        window = torch.searchsorted(self.ends, place, right=True)
        numbers = torch.arange(len(self.windows), device=place.device).unsqueeze(1)
        member = (window == numbers) & (place >= 0)  # [windows, L]
        shares = member / self._counts(lengths).t()
        means = (weights.unsqueeze(1) * shares).flatten(0, 1) @ steps.values
        return self._with_query(means.reshape(query.shape[0], -1), query)

    def _counts(self, lengths: Tensor) -> Tensor:
        """Steps in every window of every row, at least 1, [B, windows]."""
        sizes = torch.tensor(self.windows, device=lengths.device)
        return torch.minimum(lengths.unsqueeze(-1) - (self.ends - sizes), sizes).clamp(min=1)

    def _with_query(self, means: Tensor, query: Tensor) -> Tensor:
        padded = F.pad(query, (0, self.key_features - query.shape[1]))
        return torch.cat([means, padded.to(means.dtype)], dim=1)

    def _refuse(self, over: Tensor, total: int) -> None:
        if torch.compiler.is_compiling():
            torch._assert_async(~over.any(), f"a history has more than {total} steps")
        elif bool(over.any()):
            raise ValueError(
                f"a history of {int(over.max()) + total} steps is longer than the windows "
                f"{self.windows} ({total} steps): set `keep` to first or last, or widen them"
            )

    def _cut(self, steps: Jagged, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Place of every step among those kept (below 0: cut), and how many each row keeps."""
        place, total = places(steps, rows), sum(self.windows)
        over = (steps.lengths - total).clamp(min=0)
        if self.keep is None and not over.is_meta:
            self._refuse(over, total)
        if self.keep == "last":
            place = place - over.index_select(0, rows)
        return place, steps.lengths - over
