"""Perceptrons, linear layers, concatenation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import PositiveInt, model_validator

from graphrec.blocks.base import Kernel, Widths
from graphrec.blocks.parameters import Perceptron, Settings
from graphrec.blocks.weight_counts import linear
from graphrec.ground.activation_table import FUSED
from graphrec.ground.shapes import Shape, ShapeError

__all__ = ["MLP", "Concat", "Linear"]

FUSED_NORMS = ("none", "layer")
WIDEST_NORM = 4096
"""What the Triton kernels know; a row that one of them normalises must fit its registers."""


class MLP(Perceptron):
    """A stack of Linear, norm, activation and dropout; the last hidden layer is activated too."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {
        "torch": "graphrec.nn:MLP",
        "triton": Kernel(
            "graphrec.kernels:TritonMLP",
            devices=("cuda",),
            needs=("triton",),
            allow={"norm": FUSED_NORMS, "activation": FUSED},
            limit={"hidden": WIDEST_NORM},
            splits=True,
        ),
        "stacked": Kernel(
            "graphrec.nn:MLP",
            together="graphrec.kernels.stacked_towers:stacked",
            allow={
                "norm": ("none", "layer"),
                "activation": FUSED,
                "hidden_outputs": (False,),
            },
        ),
    }
    splits: ClassVar[tuple[str, ...]] = ("x",)
    hidden: Widths = ()
    """Widths of the hidden layers."""
    bias: bool = True
    """Whether the Linears have a bias."""
    out: PositiveInt | None = None
    """Width of a last Linear without norm and activation."""
    hidden_outputs: bool = False
    """Give every layer's output: hidden0, hidden1, ..., and out."""

    @model_validator(mode="after")
    def _has_layers(self) -> MLP:
        if not self.hidden and self.out is None:
            raise ValueError("needs hidden: [64, 32], or out: 1, or both")
        if isinstance(self.dropout, tuple) and len(self.dropout) != len(self.hidden):
            raise ValueError(
                f"dropout has {len(self.dropout)} numbers for {len(self.hidden)} hidden layers"
            )
        return self

    def infer(self, x: Shape) -> Shape | dict[str, Shape]:
        if x.rank < 2 or x.width < 1:
            raise ShapeError(f"needs x [B, D] or [B, L, D], got {x}")
        outputs = {f"hidden{i}": x.resize(width) for i, width in enumerate(self.hidden)}
        if self.out is not None:
            outputs["out"] = x.resize(self.out)
        return outputs if self.hidden_outputs else [*outputs.values()][-1]

    def args(self, x: Shape) -> dict[str, Any]:
        names = ("activation", "norm", "dropout", "bias", "out", "hidden_outputs")
        return {
            "in_features": x.width,
            "hidden": list(self.hidden),
            **self.chosen(*names),
        }

    def parameters(self, x: Shape) -> int:
        return self.perceptron(x.width, self.hidden, self.out)


class Linear(Settings):
    """x W^T + b."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:Linear"}
    splits: ClassVar[tuple[str, ...]] = ("x",)
    out: PositiveInt
    """Width of the output."""
    bias: bool = True
    """Whether there is a bias."""

    def infer(self, x: Shape) -> Shape:
        if x.rank < 2 or x.width < 1:
            raise ShapeError(f"needs x [B, D] or [B, L, D], got {x}")
        return x.resize(self.out)

    def args(self, x: Shape) -> dict[str, Any]:
        return {"in_features": x.width, "out": self.out, **self.chosen("bias")}

    def parameters(self, x: Shape) -> int:
        return linear(x.width, self.out, self.bias)


class Concat(Settings):
    """The inputs side by side, on the last dimension."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:Concat"}
    is_concat: ClassVar[bool] = True
    is_pure: ClassVar[bool] = True

    def infer(self, *xs: Shape) -> Shape:
        return concatenated(xs)

    def args(self, *xs: Shape) -> dict[str, Any]:
        return {}

    def parameters(self, *xs: Shape) -> int:
        return 0


def concatenated(xs: tuple[Shape, ...]) -> Shape:
    """Shape of the concatenation on the last dimension."""
    if not xs:
        raise ShapeError("needs at least one input")
    first = xs[0]
    for x in xs[1:]:
        if x.dims[:-1] != first.dims[:-1]:
            raise ShapeError(
                f"needs inputs that differ in the last dimension only, got {first} and {x}"
            )
    return first.resize(sum(x.width for x in xs))
