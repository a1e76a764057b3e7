"""Sequential transduction over a history: HSTU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from graphrec.blocks.base import Kernel
from graphrec.blocks.parameters import (
    Rate,
    Settings,
    expect_fields,
    expect_keys,
    expect_vector,
)
from graphrec.blocks.weight_counts import linear, norm
from graphrec.ground.shapes import B, Shape, ShapeError

__all__ = ["Hstu"]


class Hstu(Settings):
    """Pointwise aggregated attention over a history, in gated units (HSTU; Zhai et al., 2024).

    With a `query` (a paired group) the candidate stands at the history's end and its state is the
    output; `context` are fields before the history, `times` and `now` when things happened.
    """

    kernels: ClassVar[Mapping[str, str | Kernel]] = {
        "torch": "graphrec.nn:HSTU",
        "triton": Kernel(
            "graphrec.kernels:TritonHSTU",
            devices=("cuda",),
            needs=("triton",),
            allow={"attention_dropout": (0.0,)},
            limit={"widest": 128},
            splits=True,
        ),
    }
    spreads: ClassVar[tuple[str, ...]] = ("keys", "context", "times")
    layers: PositiveInt = 2
    """Units, one behind another."""
    heads: PositiveInt = 4
    """Attention heads."""
    head_width: PositiveInt = 32
    """Width of a head's query and key."""
    value_width: PositiveInt | None = None
    """Width of a head's value; by default that of its query."""
    max_len: PositiveInt = 512
    """What sums over a history are divided by, whatever its length."""
    positions: PositiveInt | None = None
    """Learnt numbers for so many distances between steps; those further apart share the last."""
    time_buckets: Annotated[PositiveInt, Field(le=128)] | None = None
    """Learnt numbers for so many magnitudes of time between steps; needs `times`."""
    window: PositiveInt | None = None
    """How far back a step looks; by default to the first step."""
    dropout: Rate = 0.0
    """Drop probability before each unit's last Linear."""
    attention_dropout: Rate = 0.0
    """Drop probability of weights of pairs of steps; in training all pairs are kept in memory."""
    pool: Literal["last", "mean", "none"] = "last"
    """Without a query: the last step, the mean of the steps, or every step."""

    @property
    def widest(self) -> int:
        """The wider one of a head's query and value."""
        return max(self.head_width, self.value_width or self.head_width)

    def infer(
        self,
        keys: Shape,
        query: Shape | None = None,
        context: Shape | None = None,
        times: Shape | None = None,
        now: Shape | None = None,
        mask: Shape | None = None,
    ) -> Shape:
        width = expect_keys(keys, mask, query)
        if context is not None and expect_fields(context, "a context")[1] > width:
            raise ShapeError(f"needs a context at most as wide as the keys, {context} and {keys}")
        if (times is None) != (self.time_buckets is None):
            raise ShapeError("needs `times` together with time_buckets, one number a step")
        if times is not None and times.dims != (*keys.dims[:2], 1):
            raise ShapeError(f"needs times {keys.resize(1)}, one for each step, got {times}")
        if (now is not None) != (times is not None and query is not None):
            raise ShapeError("needs `now`, the time of the query, where there are query and times")
        if now is not None and expect_vector(now, "now").width != 1:
            raise ShapeError(f"needs now [B, 1], got {now}")
        if query is not None or self.pool != "none":
            return Shape((B, width))
        return keys

    def args(
        self,
        keys: Shape,
        query: Shape | None = None,
        context: Shape | None = None,
        times: Shape | None = None,
        now: Shape | None = None,
        mask: Shape | None = None,
    ) -> dict[str, Any]:
        names = ("layers", "heads", "head_width", "value_width", "max_len", "positions")
        more = ("time_buckets", "window", "dropout", "pool", "attention_dropout")
        return {"width": keys.width, **self.chosen(*names, *more)}

    def parameters(self, keys: Shape, *others: Shape | None, **named: Shape | None) -> int:
        width, value = keys.width, self.value_width or self.head_width
        unit = norm(width) + linear(width, 2 * self.heads * (self.head_width + value))
        unit += norm(self.heads * value) + linear(self.heads * value, width)
        return self.layers * (unit + (self.positions or 0) + (self.time_buckets or 0))
