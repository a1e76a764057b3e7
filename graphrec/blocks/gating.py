"""Features scaled by what other features say: MaskNet, EPNet, PPNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from graphrec.blocks.base import Kernel, Widths
from graphrec.blocks.dense import FUSED_NORMS, WIDEST_NORM
from graphrec.blocks.parameters import Activation, Norm, Perceptron, Rate, Settings, expect_vector
from graphrec.blocks.weight_counts import linear, norm, perceptron
from graphrec.ground.activation_table import FUSED
from graphrec.ground.shapes import Shape

__all__ = ["Epnet", "MaskBlock", "Masknet", "Ppnet"]


def _one_of(aggregation: int | None, reduction: float | None) -> None:
    if aggregation is not None and reduction is not None:
        raise ValueError("give aggregation (a width) or reduction (a ratio), not both")


def mask_block(width: int, mask: int, hidden: int, middle: int) -> int:
    """Weights of a mask block with a middle layer of that width."""
    masks = linear(mask, middle) + linear(middle, width)
    return masks + linear(width, hidden) + norm(hidden)


def gate(width: int, hidden: int, out: int) -> int:
    """Weights of a gate of two Linears."""
    return linear(width, hidden) + linear(hidden, out)


class MaskBlock(Settings):
    """A vector masked by another, then Linear, layer norm and ReLU (Wang et al., 2021)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {
        "torch": "graphrec.nn:MaskBlock",
        "triton": Kernel(
            "graphrec.kernels:TritonMaskBlock",
            devices=("cuda",),
            needs=("triton",),
            limit={"hidden": WIDEST_NORM},
        ),
    }
    splits: ClassVar[tuple[str, ...]] = ("mask",)
    spreads: ClassVar[tuple[str, ...]] = ("x", "mask")
    hidden: PositiveInt
    """Width of the output."""
    aggregation: PositiveInt | None = None
    """Width of the mask's middle layer."""
    reduction: PositiveFloat | None = None
    """The middle layer as a multiple of the width of x; 1 if neither is given."""

    @model_validator(mode="after")
    def _width_or_ratio(self) -> MaskBlock:
        _one_of(self.aggregation, self.reduction)
        return self

    def infer(self, x: Shape, mask: Shape) -> Shape:
        expect_vector(mask, "a mask")
        return expect_vector(x).resize(self.hidden)

    def args(self, x: Shape, mask: Shape) -> dict[str, Any]:
        ratio = 1.0 if self.reduction is None else self.reduction
        return {
            "in_features": x.width,
            "mask_features": mask.width,
            "hidden": self.hidden,
            "aggregation": self.aggregation or max(1, int(ratio * x.width)),
        }

    def parameters(self, x: Shape, mask: Shape) -> int:
        middle = self.args(x, mask)["aggregation"]
        return mask_block(x.width, mask.width, self.hidden, middle)


class Masknet(Perceptron):
    """Instance-guided masks: mask blocks side by side or in series (MaskNet; Wang et al., 2021)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {
        "torch": "graphrec.nn:MaskNet",
        "triton": Kernel(
            "graphrec.kernels:TritonMaskNet",
            devices=("cuda",),
            needs=("triton",),
            allow={"norm": FUSED_NORMS, "activation": FUSED},
            limit={"hidden": WIDEST_NORM, "top": WIDEST_NORM},
        ),
    }
    splits: ClassVar[tuple[str, ...]] = ("x",)
    blocks: PositiveInt
    """Number of mask blocks."""
    hidden: PositiveInt
    """Width of each mask block's output."""
    aggregation: PositiveInt | None = None
    """Width of the masks' middle layers."""
    reduction: PositiveFloat | None = None
    """The middle layers as a multiple of each block's input; 1 if neither is given."""
    top: Widths = ()
    """Layers of an MLP behind the blocks; activation, norm, dropout and bias are its own."""
    bias: bool = True
    """Whether the MLP's Linears have a bias."""
    mode: Literal["parallel", "serial"] = "parallel"
    """Blocks side by side, all reading x, or one after the other."""

    @model_validator(mode="after")
    def _consistent(self) -> Masknet:
        _one_of(self.aggregation, self.reduction)
        if not self.top and self.chosen("activation", "norm", "dropout", "bias"):
            raise ValueError(
                "activation, norm, dropout and bias need the layers of top: [512, 256]"
            )
        if isinstance(self.dropout, tuple) and len(self.dropout) != len(self.top):
            raise ValueError(f"dropout has {len(self.dropout)} numbers for {len(self.top)} layers")
        return self

    def infer(self, x: Shape) -> Shape:
        expect_vector(x)
        if self.top:
            return x.resize(self.top[-1])
        return x.resize(self.hidden * (self.blocks if self.mode == "parallel" else 1))

    def args(self, x: Shape) -> dict[str, Any]:
        names = ("blocks", "hidden", "aggregation", "reduction", "top", "mode")
        rest = self.chosen(*names, "activation", "norm", "dropout", "bias")
        return {"in_features": x.width, **rest}

    def parameters(self, x: Shape) -> int:
        serial = self.mode == "serial"
        later = self.hidden if serial else x.width
        ratio = 1.0 if self.reduction is None else self.reduction
        first, other = (
            mask_block(width, x.width, self.hidden, self.aggregation or max(1, int(ratio * width)))
            for width in (x.width, later)
        )
        blocks = first + other * (self.blocks - 1)
        width = self.hidden * (1 if serial else self.blocks)
        return norm(x.width) + blocks + self.perceptron(width, self.top)


class Epnet(Settings):
    """A vector scaled by a gate that reads a domain and the vector (PEPNet; Chang et al., 2023)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {
        "torch": "graphrec.nn:EPNet",
        "triton": Kernel(
            "graphrec.kernels:TritonEPNet",
            devices=("cuda",),
            needs=("triton",),
        ),
    }
    splits: ClassVar[tuple[str, ...]] = ("x", "domain")
    spreads: ClassVar[tuple[str, ...]] = ("x", "domain")
    hidden: PositiveInt
    """Width of the gate's middle layer."""
    gamma: PositiveFloat = 2.0
    """Largest factor of the gate."""

    def infer(self, x: Shape, domain: Shape) -> Shape:
        expect_vector(domain, "a domain")
        return expect_vector(x)

    def args(self, x: Shape, domain: Shape) -> dict[str, Any]:
        rest = self.chosen("hidden", "gamma")
        return {"in_features": x.width, "domain_features": domain.width, **rest}

    def parameters(self, x: Shape, domain: Shape) -> int:
        return gate(domain.width + x.width, self.hidden, x.width)


class Ppnet(Settings):
    """A perceptron whose layers are scaled by gates (PEPNet; Chang et al., 2023)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {
        "torch": "graphrec.nn:PPNet",
        "triton": Kernel(
            "graphrec.kernels:TritonPPNet",
            devices=("cuda",),
            needs=("triton",),
            allow={"norm": FUSED_NORMS, "activation": FUSED},
            limit={"hidden": WIDEST_NORM},
        ),
    }
    splits: ClassVar[tuple[str, ...]] = ("x", "domain")
    spreads: ClassVar[tuple[str, ...]] = ("x", "domain")
    hidden: Annotated[Widths, Field(min_length=1)]
    """Widths of the layers."""
    gate_hidden: PositiveInt
    """Width of the gates' middle layers."""
    activation: Activation = "relu"
    """Activation of the layers."""
    norm: Norm = "none"
    """Norm between a layer's Linear and its activation."""
    dropout: Rate = 0.0
    """Drop probability behind a layer."""
    gamma: PositiveFloat = 2.0
    """Largest factor of the gates."""

    def infer(self, x: Shape, domain: Shape) -> Shape:
        expect_vector(domain, "a domain")
        return expect_vector(x).resize(self.hidden[-1])

    def args(self, x: Shape, domain: Shape) -> dict[str, Any]:
        names = ("hidden", "gate_hidden", "activation", "norm", "dropout", "gamma")
        rest = self.chosen(*names)
        return {"in_features": x.width, "domain_features": domain.width, **rest}

    def parameters(self, x: Shape, domain: Shape) -> int:
        reads = domain.width + x.width
        layers = perceptron(x.width, self.hidden, self.activation, self.norm)
        return layers + sum(gate(reads, self.gate_hidden, out) for out in self.hidden)
