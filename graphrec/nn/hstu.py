"""Hierarchical sequential transduction units over a history, with a candidate at its end."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.nn.batch import Jagged
from graphrec.nn.dense import Linear
from graphrec.nn.hstu_attention import Bias, hstu_attention, time_limits
from graphrec.nn.segments import as_jagged, segment_sum
from graphrec.nn.shared_history import is_one

__all__ = ["HSTU", "HSTULayer"]


class HSTULayer(nn.Module):
    """One unit: x + Linear(norm(attention(q, k, v)) * u), with u, v, q, k = silu(Linear(norm(x))).

    x [T, D], rows of `lengths` [B]; result [T, D]. `position_bias` [positions] is added to scores
    by the distance of two steps (those further apart share the last), `time_bias` [time_buckets]
    by the logarithm of their time apart; `attention_dropout` drops weights of pairs of steps. Zhai
    et al., Actions Speak Louder than Words, ICML 2024.
    """

    def __init__(
        self,
        width: int,
        heads: int = 4,
        head_width: int = 32,
        value_width: int | None = None,
        max_len: int = 512,
        positions: int | None = None,
        time_buckets: int | None = None,
        window: int | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention_dropout = attention_dropout
        self.heads, self.head_width = heads, head_width
        self.value_width = head_width if value_width is None else value_width
        self.max_len, self.window = max_len, window or 0
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.uvqk = Linear(width, 2 * heads * (self.head_width + self.value_width))
        self.out_norm = nn.LayerNorm(heads * self.value_width, eps=1e-6)
        self.out = Linear(heads * self.value_width, width)
        self.dropout = nn.Dropout(dropout)
        self.position_bias = nn.Parameter(torch.empty(positions)) if positions else None
        self.time_bias = nn.Parameter(torch.empty(time_buckets)) if time_buckets else None
        limits = time_limits(time_buckets) if time_buckets else None
        self.register_buffer("limits", limits, persistent=False)
        self.reset_parameters()

    limits: Tensor | None

    def reset_parameters(self) -> None:
        """Draw new biases of scores; the Linears and norms reset themselves."""
        for bias in (self.position_bias, self.time_bias):
            if bias is not None:
                nn.init.normal_(bias, std=0.02)

    def forward(
        self,
        x: Tensor,
        lengths: Tensor,
        times: Tensor | None = None,
        targets: Tensor | None = None,
        context: int = 0,
    ) -> Tensor:
        """`times` [T] int64, `targets` [B] steps at a row's end that are candidates."""
        value, query = self.heads * self.value_width, self.heads * self.head_width
        mixed = F.silu(self.uvqk(self.norm(x)))
        u, v, q, k = torch.split(mixed, [value, value, query, query], dim=1)
        known = self.time_bias is not None and times is not None
        bias = Bias(
            self.position_bias,
            self.time_bias if known else None,
            times if known else None,
            self.limits if known else None,
        )
        gated = self.out_norm(self._attend(q, k, v, lengths, bias, targets, context)) * u
        y: Tensor = x + self.out(self.dropout(gated))
        return y

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        lengths: Tensor,
        bias: Bias,
        targets: Tensor | None,
        context: int,
    ) -> Tensor:
        """The attended values [T, heads * value_width]."""
        return hstu_attention(
            q.reshape(-1, self.heads, self.head_width),
            k.reshape(-1, self.heads, self.head_width),
            v.reshape(-1, self.heads, self.value_width),
            lengths,
            scale=float(self.max_len),
            bias=bias,
            targets=targets,
            window=self.window,
            context=context,
            dropout=self.attention_dropout if self.training else 0.0,
        ).flatten(1)


class HSTU(nn.Module):
    """`layers` units over keys [T, D], after a context [B, C, Dc] and before a query [B, Dq].

    Context and query are padded with zeros to D. With a query the result is what the last layer
    makes of it, [B, D]: the candidate has met the history, and history never the candidate.
    Without one, `pool` is `last` or `mean` of the steps, [B, D], or `none`: every step. `times`
    [T, 1] are those of the steps, `now` [B, 1] that of the query; both count in whole units. In
    evaluation one row of keys may serve all queries: they are candidates of one row.
    """

    unit = HSTULayer
    """What a layer is made of; a twin has its own."""

    def __init__(
        self,
        width: int,
        layers: int = 2,
        heads: int = 4,
        head_width: int = 32,
        value_width: int | None = None,
        max_len: int = 512,
        positions: int | None = None,
        time_buckets: int | None = None,
        window: int | None = None,
        dropout: float = 0.0,
        pool: str = "last",
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if pool not in ("last", "mean", "none"):
            raise ValueError(f"unknown pool `{pool}`; there are last, mean, none")
        self.width, self.pool = width, pool
        shape = (heads, head_width, value_width, max_len, positions, time_buckets, window)
        rates = (dropout, attention_dropout)
        self.layers = nn.ModuleList(self.unit(width, *shape, *rates) for _ in range(layers))

    def forward(
        self,
        keys: Tensor | Jagged,
        query: Tensor | None = None,
        context: Tensor | None = None,
        times: Tensor | Jagged | None = None,
        now: Tensor | None = None,
    ) -> Tensor | Jagged:
        steps = as_jagged(keys)
        count = 0 if context is None else context.shape[1]
        one = query is not None and is_one(query, steps)
        many = 0 if query is None else query.shape[0] if one else 1
        places = _Places(steps, count, many)
        x = places.join(steps.values, self._padded(context), self._padded(query))
        clock = None
        if times is not None:
            clock = places.times(as_jagged(times).values, now).round().to(torch.int64)
        targets = None if query is None else torch.full_like(steps.lengths, many)
        for layer in self.layers:
            x = layer(x, places.lengths, clock, targets, count)
        if query is not None:
            return x.index_select(0, places.of_query)
        return self._pooled(x.index_select(0, places.of_steps), steps, keys)

    def _padded(self, x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        return F.pad(x, (0, self.width - x.shape[-1])).reshape(-1, self.width)

    def _pooled(self, x: Tensor, steps: Jagged, keys: Tensor | Jagged) -> Tensor | Jagged:
        if self.pool == "none":
            shape = keys.values.shape if isinstance(keys, Jagged) else keys.shape
            return keys.replace(x) if isinstance(keys, Jagged) else x.reshape(shape)
        rows = steps.rows()
        if self.pool == "mean":
            total = segment_sum(x, rows, steps.num_rows)
            return total / steps.lengths.clamp(min=1).unsqueeze(-1)
        ends = steps.lengths.cumsum(0)
        last = torch.arange(x.shape[0], device=x.device) == ends.index_select(0, rows) - 1
        return segment_sum(x * last.unsqueeze(-1), rows, steps.num_rows)


class _Places:
    """Where the tokens of every row stand: its context, its steps, then its candidates."""

    def __init__(self, steps: Jagged, context: int, candidates: int) -> None:
        more, num_rows, device = context + candidates, steps.num_rows, steps.values.device
        number = torch.arange(num_rows, device=device)
        starts = steps.lengths.cumsum(0) - steps.lengths + number * more
        total = steps.values.shape[0]
        self.lengths = steps.lengths + more
        self.size = total + num_rows * more
        self.of_steps = torch.arange(total, device=device) + steps.rows() * more + context
        self.of_context = _block(starts, context)
        self.of_query = _block(starts + context + steps.lengths, candidates)

    def join(self, steps: Tensor, context: Tensor | None, query: Tensor | None) -> Tensor:
        """All tokens [T + B (C + candidates), D]."""
        parts = [(self.of_steps, steps), (self.of_context, context), (self.of_query, query)]
        there = [(at, part) for at, part in parts if part is not None]
        values = torch.cat([part.to(steps.dtype) for _, part in there])
        at = torch.cat([at for at, _ in there])
        return values.new_zeros(self.size, values.shape[1]).index_copy(0, at, values)

    def times(self, steps: Tensor, now: Tensor | None) -> Tensor:
        """Times of all tokens; a candidate's is `now`, and the context stands at 0."""
        clock = steps.new_zeros(self.size).index_copy(0, self.of_steps, steps.reshape(-1))
        if now is not None:
            clock = clock.index_copy(0, self.of_query, now.reshape(-1).to(clock.dtype))
        return clock


def _block(starts: Tensor, count: int) -> Tensor:
    return (starts.unsqueeze(1) + torch.arange(count, device=starts.device)).flatten()
