"""Target attention in windows over a history."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.nn.batch import Jagged
from graphrec.nn.segments import (
    as_jagged,
    places,
    segment_sum,
)
from graphrec.nn.shared_history import is_one
from graphrec.nn.shared_history import scores as scores_of_one
from graphrec.nn.step_scores import first_weight, score, scoring

__all__ = ["MultiWindowDIN"]


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
        self.mlp = scoring(3 * key_features, hidden, activation, norm, dropout, bias)
        self.norm_padding = norm_padding
        self.act = nn.PReLU()
        ends = torch.tensor(self.windows).cumsum(0)
        self.register_buffer("ends", ends, persistent=False)

    def forward(self, query: Tensor, keys: Tensor | Jagged) -> Tensor:
        steps = as_jagged(keys)
        rows = steps.rows()
        key_part, product, query_part = first_weight(self.mlp).chunk(3, dim=1)
        parts = (query_part, key_part, product)
        if is_one(query, steps):
            return self._of_one(query, steps, rows, parts)
        weights = self.act(score(self.mlp, query, steps, rows, parts, self.norm_padding))
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
