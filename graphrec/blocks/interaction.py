"""Feature crosses: FM, dot products, cross networks, CIN, SENet, bilinear, WuKong."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from graphrec.blocks.base import Kernel, Widths
from graphrec.blocks.parameters import (
    Activation,
    Norm,
    Settings,
    expect_fields,
    expect_same,
    expect_vector,
)
from graphrec.blocks.weight_counts import linear, norm, perceptron
from graphrec.ground.shapes import B, Shape, ShapeError

__all__ = [
    "Bilinear",
    "CIN",
    "Cross",
    "CrossV2",
    "DotInteraction",
    "FM",
    "Regulation",
    "Senet",
    "Wukong",
]

Layers = Annotated[Widths, Field(min_length=1)]


def _pairs(fields: Shape) -> tuple[int, int, int]:
    """Number of fields, their width, and the number of pairs."""
    number, width = expect_fields(fields)
    if number < 2:
        raise ShapeError(f"needs at least two fields to pair, got {fields}")
    return number, width, number * (number - 1) // 2


class FM(Settings):
    """Sum of the products of all pairs of fields (Rendle, 2010): ((sum x)^2 - sum x^2) / 2."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:FM"}
    is_pure: ClassVar[bool] = True

    def infer(self, fields: Shape) -> Shape:
        _, width = expect_fields(fields)
        return Shape((B, width))

    def args(self, fields: Shape) -> dict[str, Any]:
        return {}

    def parameters(self, fields: Shape) -> int:
        return 0


class DotInteraction(Settings):
    """Inner products of all pairs of fields, row by row (DLRM; Naumov et al., 2019)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:DotInteraction"}
    is_pure: ClassVar[bool] = True

    def infer(self, fields: Shape) -> Shape:
        return Shape((B, _pairs(fields)[2]))

    def args(self, fields: Shape) -> dict[str, Any]:
        return {"num_fields": fields.steps}

    def parameters(self, fields: Shape) -> int:
        return 0


class _CrossLayer(Settings):
    """One layer of a cross network; stack it with `repeat: N, carry: x`."""

    def infer(self, x0: Shape, x: Shape) -> Shape:
        expect_vector(x0, "x0")
        expect_vector(x)
        expect_same(x0, x, "x0 and x")
        return x


class Cross(_CrossLayer):
    """(w . x) x0 + b + x, one layer of DCN (Wang et al., 2017); stack with `repeat`, `carry: x`."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:Cross"}
    spreads: ClassVar[tuple[str, ...]] = ("x0", "x")

    def args(self, x0: Shape, x: Shape) -> dict[str, Any]:
        return {"in_features": x.width}

    def parameters(self, x0: Shape, x: Shape) -> int:
        return 2 * x.width


class CrossV2(_CrossLayer):
    """x0 * (W x + b) + x, one layer of DCN V2 (Wang et al., 2021); stack like cross."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {
        "torch": "graphrec.nn:CrossV2",
        "triton": Kernel(
            "graphrec.kernels:TritonCrossV2",
            devices=("cuda",),
            needs=("triton",),
        ),
    }
    splits: ClassVar[tuple[str, ...]] = ("x0", "x")
    spreads: ClassVar[tuple[str, ...]] = ("x0", "x")
    rank: PositiveInt | None = None
    """W as a product of two matrices of this rank; without it W is full."""

    def args(self, x0: Shape, x: Shape) -> dict[str, Any]:
        return {"in_features": x.width, **self.chosen("rank")}

    def parameters(self, x0: Shape, x: Shape) -> int:
        if self.rank is None:
            return linear(x.width, x.width)
        return linear(x.width, self.rank, bias=False) + linear(self.rank, x.width)


class CIN(Settings):
    """Compressed interaction network (xDeepFM; Lian et al., 2018)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:CIN"}
    layers: Layers
    """Feature maps of each layer."""

    def infer(self, fields: Shape) -> Shape:
        expect_fields(fields)
        return Shape((B, sum(self.layers)))

    def args(self, fields: Shape) -> dict[str, Any]:
        return {"num_fields": fields.steps, "layers": list(self.layers)}

    def parameters(self, fields: Shape) -> int:
        number, _ = expect_fields(fields)
        return sum(linear(maps * number, out) for maps, out in pairwise([number, *self.layers]))


class Senet(Settings):
    """Fields scaled by their importance (FiBiNET; Huang et al., 2019)."""

    block_name: ClassVar[str] = "senet"
    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:SENet"}
    reduction: PositiveInt = 3
    """How much narrower than the number of fields the middle layer is."""
    bias: bool = True
    """Whether both Linears have a bias."""
    gate: Literal["sigmoid", "relu"] = "sigmoid"
    """What scales a field; the paper's relu can shut one out."""

    def infer(self, fields: Shape) -> Shape:
        expect_fields(fields)
        return fields

    def args(self, fields: Shape) -> dict[str, Any]:
        return {"num_fields": fields.steps, **self.chosen("reduction", "bias", "gate")}

    def parameters(self, fields: Shape) -> int:
        number, _ = expect_fields(fields)
        middle = max(1, number // self.reduction)
        return linear(number, middle, self.bias) + linear(middle, number, self.bias)


class Regulation(Settings):
    """Fields weighed by learnt shares, one for each field (EDCN; Chen et al., 2021)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:Regulation"}
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """What the gates are divided by before their softmax: the lower, the fewer fields count."""
    keep_scale: bool = False
    """Multiply shares by the number of fields: equal ones change nothing. The paper does not."""

    def infer(self, fields: Shape) -> Shape:
        expect_fields(fields)
        return fields

    def args(self, fields: Shape) -> dict[str, Any]:
        return {"num_fields": fields.steps, **self.chosen("temperature", "keep_scale")}

    def parameters(self, fields: Shape) -> int:
        return expect_fields(fields)[0]


class Bilinear(Settings):
    """(x_i W) * x_j for all pairs of fields, side by side (FiBiNET; Huang et al., 2019)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:Bilinear"}
    kind: Literal["interaction", "all", "each"] = "interaction"
    """One matrix per pair (interaction), one for all pairs, or one for each left field."""

    def infer(self, fields: Shape) -> Shape:
        _, width, pairs = _pairs(fields)
        return Shape((B, pairs * width))

    def args(self, fields: Shape) -> dict[str, Any]:
        return {"num_fields": fields.steps, "dim": fields.width, **self.chosen("kind")}

    def parameters(self, fields: Shape) -> int:
        number, width, pairs = _pairs(fields)
        matrices = {"interaction": pairs, "all": 1, "each": number - 1}
        return matrices[self.kind] * width * width


class Logarithmic(Settings):
    """Products of powers of the fields, crosses of learnt orders (AFN; Cheng et al., 2020)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:Logarithmic"}
    neurons: PositiveInt
    """How many crosses."""

    def infer(self, fields: Shape) -> Shape:
        _, width = expect_fields(fields)
        return Shape((B, self.neurons * width))

    def args(self, fields: Shape) -> dict[str, Any]:
        return {"num_fields": fields.steps, "neurons": self.neurons}

    def parameters(self, fields: Shape) -> int:
        num_fields, _ = expect_fields(fields)
        return 2 * num_fields + linear(num_fields, self.neurons) + 2 * self.neurons

    def repeats(self, training: bool) -> bool:
        """In training each application moves the norms' statistics."""
        return not training


class Wukong(Settings):
    """One WuKong layer: FM block and linear compression, residual, norm (Zhang et al., 2024)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:WuKong"}
    fm_fields: PositiveInt
    """Fields that the FM block gives."""
    linear_fields: PositiveInt
    """Fields that the linear compression gives."""
    rank: PositiveInt
    """Compressed fields that every field is crossed with."""
    hidden: Layers
    """Layers of the FM block's MLP."""
    activation: Activation = "relu"
    """Activation of the FM block's MLP."""
    norm: Norm = "none"
    """Norm of the FM block's MLP."""

    def infer(self, fields: Shape) -> Shape:
        _, width = expect_fields(fields)
        return Shape((B, self.fm_fields + self.linear_fields, width))

    def args(self, fields: Shape) -> dict[str, Any]:
        return {
            "num_fields": fields.steps,
            "dim": fields.width,
            **self.chosen("fm_fields", "linear_fields", "rank", "hidden", "activation", "norm"),
        }

    def parameters(self, fields: Shape) -> int:
        number, width = expect_fields(fields)
        out, crossed = self.fm_fields + self.linear_fields, number * self.rank
        fm = norm(crossed) + perceptron(
            crossed, self.hidden, self.activation, self.norm, out=self.fm_fields * width
        )
        residual = 0 if number == out else number * out
        return number * (self.rank + self.linear_fields) + fm + residual + norm(width)
