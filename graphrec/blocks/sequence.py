"""What reads a history: target attention, self attention, pooling.

`mask` is the port that a paired group fills by name; it is checked here, and not passed to the
layer: a history travels with its lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from graphrec.blocks.base import Kernel, Widths
from graphrec.blocks.parameters import Perceptron, Rate, Settings, expect_keys
from graphrec.blocks.weight_counts import linear, norm
from graphrec.ground.activation_table import FUSED
from graphrec.ground.shapes import B, Shape, ShapeError

__all__ = [
    "Din",
    "AttentionScores",
    "DotAttention",
    "Interests",
    "MultiWindowDin",
    "Pooling",
    "SelfAttention",
    "WeightedSum",
]

Layers = Annotated[Widths, Field(min_length=1)]


class _Scored(Perceptron):
    """Attention whose scores come from an MLP over query and step."""

    hidden: Layers
    """Layers of the score's MLP; a Linear to one number follows."""
    bias: bool = True
    """Whether the hidden layers' Linears have a bias."""
    norm_padding: Literal["exclude", "include"] = "exclude"
    """Whether batch statistics count the padding up to the longest history of the batch."""

    @model_validator(mode="after")
    def _one_rate_per_layer(self) -> _Scored:
        if isinstance(self.dropout, tuple) and len(self.dropout) != len(self.hidden):
            raise ValueError(
                f"dropout has {len(self.dropout)} numbers for {len(self.hidden)} hidden layers"
            )
        if self.norm_padding == "include" and self.norm != "batch" and self.activation != "dice":
            raise ValueError("norm_padding needs norm: batch or activation: dice")
        return self

    def args(self, query: Shape, keys: Shape, mask: Shape | None = None) -> dict[str, Any]:
        names = ("hidden", "activation", "norm", "dropout", "bias", "norm_padding")
        widths = {"query_features": query.width, "key_features": keys.width}
        return {**widths, **self.chosen(*names)}

    def parameters(self, query: Shape, keys: Shape, mask: Shape | None = None) -> int:
        return self._scores(4 * keys.width)

    def _scores(self, width: int) -> int:
        """Weights of the score's MLP; its last Linear always has a bias."""
        return self.perceptron(width, self.hidden) + linear(self.hidden[-1], 1)


class Din(_Scored):
    """Target attention with softmax of MLP([q, s, q - s, q * s]) (DIN; Zhou et al., 2018)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {
        "torch": "graphrec.nn:DIN",
        "triton": Kernel(
            "graphrec.kernels:TritonDIN",
            devices=("cuda",),
            needs=("triton",),
            allow={
                "norm": ("none",),
                "dropout": (0.0,),
                "attention_dropout": (0.0,),
                "activation": FUSED,
            },
            splits=True,
        ),
    }
    spreads: ClassVar[tuple[str, ...]] = ("keys",)
    attention_dropout: Rate = 0.0
    """Drop probability of the steps' weights, after the softmax."""

    def infer(self, query: Shape, keys: Shape, mask: Shape | None = None) -> Shape:
        return Shape((B, expect_keys(keys, mask, query)))

    def args(self, query: Shape, keys: Shape, mask: Shape | None = None) -> dict[str, Any]:
        return {**super().args(query, keys, mask), **self.chosen("attention_dropout")}


class AttentionScores(_Scored):
    """The weights of target attention, one per step, for weighted_sum."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:AttentionScores"}
    spreads: ClassVar[tuple[str, ...]] = ("keys",)
    softmax: bool = True
    """false gives the scores as they are."""

    def infer(self, query: Shape, keys: Shape, mask: Shape | None = None) -> Shape:
        expect_keys(keys, mask, query)
        return keys.resize(1)

    def args(self, query: Shape, keys: Shape, mask: Shape | None = None) -> dict[str, Any]:
        return {**super().args(query, keys, mask), **self.chosen("softmax")}


class WeightedSum(Settings):
    """Sum over the steps of weight times value."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:WeightedSum"}
    is_pure: ClassVar[bool] = True
    spreads: ClassVar[tuple[str, ...]] = ("values",)

    def infer(self, weights: Shape, values: Shape) -> Shape:
        width = expect_keys(values, None)
        if weights.dims != (*values.dims[:2], 1):
            raise ShapeError(
                f"needs one weight per step, {values.resize(1)} of the same sequence, got {weights}"
            )
        return Shape((B, width))

    def args(self, weights: Shape, values: Shape) -> dict[str, Any]:
        return {}

    def parameters(self, weights: Shape, values: Shape) -> int:
        return 0


class DotAttention(Settings):
    """Target attention with softmax of the inner products of query and steps."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:DotAttention"}
    is_pure: ClassVar[bool] = True
    spreads: ClassVar[tuple[str, ...]] = ("keys",)

    def infer(self, query: Shape, keys: Shape, mask: Shape | None = None) -> Shape:
        return Shape((B, expect_keys(keys, mask, query)))

    def args(self, query: Shape, keys: Shape, mask: Shape | None = None) -> dict[str, Any]:
        return {}

    def parameters(self, query: Shape, keys: Shape, mask: Shape | None = None) -> int:
        return 0


class Pooling(Settings):
    """Mean, sum, maximum or the newest of the steps."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:Pooling"}
    is_pure: ClassVar[bool] = True
    mode: Literal["mean", "sum", "max", "last"] = "mean"
    """What is taken over the steps; an empty history gives zeros."""

    def infer(self, keys: Shape, mask: Shape | None = None) -> Shape:
        return Shape((B, expect_keys(keys, mask)))

    def args(self, keys: Shape, mask: Shape | None = None) -> dict[str, Any]:
        return self.chosen("mode")

    def parameters(self, keys: Shape, mask: Shape | None = None) -> int:
        return 0


class Interests(Settings):
    """Several interests of one history, by dynamic routing (MIND; Li et al., 2019)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:Interests"}
    number: PositiveInt = 4
    """How many interests, K."""
    width: PositiveInt
    """Width of an interest."""
    iterations: PositiveInt = 3
    """Rounds of routing."""
    places: PositiveInt = 64
    """Steps, counted from the newest, that start from logits of their own."""

    def infer(self, keys: Shape, mask: Shape | None = None) -> Shape:
        expect_keys(keys, mask)
        return Shape((B, self.number, self.width))

    def args(self, keys: Shape, mask: Shape | None = None) -> dict[str, Any]:
        chosen = self.chosen("number", "width", "iterations", "places")
        return {"in_features": keys.width, **chosen}

    def parameters(self, keys: Shape, mask: Shape | None = None) -> int:
        return keys.width * self.width


class SelfAttention(Settings):
    """Multi-head attention among the steps, then their mean (Vaswani et al., 2017)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {
        "torch": "graphrec.nn:SelfAttention",
        "triton": Kernel(
            "graphrec.kernels:TritonSelfAttention",
            devices=("cuda",),
            needs=("triton",),
            allow={"dropout": (0.0,)},
            limit={"head_width": 128},
        ),
    }
    width: PositiveInt = 512
    """Width of queries, keys, values and the output."""
    heads: PositiveInt = 8
    """Attention heads; they share the width."""
    positions: PositiveInt | None = None
    """Learnt vectors for the newest so many steps; those further back share the last."""
    skip: bool = False
    """Add the step to what it attended to."""
    norm: bool = False
    """A layer norm before the mean."""
    pool: Literal["mean", "none"] = "mean"
    """The mean of the steps, or every step for a block that reads steps."""
    dropout: Rate = 0.0
    """Drop probability of the attention's weights."""

    @property
    def head_width(self) -> int:
        """Width of one head."""
        return self.width // self.heads

    @model_validator(mode="after")
    def _heads_fit(self) -> SelfAttention:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of {self.heads} heads")
        return self

    def infer(self, keys: Shape, mask: Shape | None = None) -> Shape:
        width = expect_keys(keys, mask)
        if self.skip and width != self.width:
            raise ShapeError(
                f"needs keys as wide as its output to add them, got {keys} and width {self.width}"
                f"; set width: {width}, or leave out skip"
            )
        return Shape((B, self.width)) if self.pool == "mean" else keys.resize(self.width)

    def args(self, keys: Shape, mask: Shape | None = None) -> dict[str, Any]:
        rest = self.chosen("width", "heads", "positions", "skip", "norm", "pool", "dropout")
        return {"in_features": keys.width, **rest}

    def parameters(self, keys: Shape, mask: Shape | None = None) -> int:
        width = self.width
        count = 3 * linear(keys.width, width) + linear(width, 3 * width) + linear(width, width)
        count += norm(width) if self.norm else 0
        return count + (self.positions or 0) * keys.width


class MultiWindowDin(_Scored):
    """Target attention in windows of the history, side by side with the query."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:MultiWindowDIN"}
    spreads: ClassVar[tuple[str, ...]] = ("keys",)
    windows: Layers
    """Lengths of the windows, from the first step kept."""
    keep: Literal["first", "last"] | None = None
    """Which steps of a history longer than all windows are kept; without it that is an error."""

    def infer(self, query: Shape, keys: Shape, mask: Shape | None = None) -> Shape:
        width = expect_keys(keys, mask, query)
        total = sum(self.windows)
        if self.keep is None and isinstance(keys.steps, int) and keys.steps > total:
            raise ShapeError(
                f"has windows for {total} steps, got {keys}; widen them, or set keep: first"
            )
        return Shape((B, (len(self.windows) + 1) * width))

    def longest(self) -> int | None:
        return sum(self.windows) if self.keep is None else None

    def args(self, query: Shape, keys: Shape, mask: Shape | None = None) -> dict[str, Any]:
        return {**super().args(query, keys, mask), **self.chosen("windows", "keep")}

    def parameters(self, query: Shape, keys: Shape, mask: Shape | None = None) -> int:
        return self._scores(3 * keys.width) + 1  # and the PReLU
