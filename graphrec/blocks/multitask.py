"""What several tasks share: MMoE, PLE, relations between towers, a fusion tower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from graphrec.blocks.base import Kernel, Name, Names, Widths
from graphrec.blocks.dense import concatenated
from graphrec.blocks.parameters import (
    Activation,
    Norm,
    Perceptron,
    Rate,
    Rates,
    Settings,
    as_tuple,
    expect_same,
    expect_vector,
)
from graphrec.blocks.weight_counts import linear, perceptron
from graphrec.ground.activation_table import FUSED
from graphrec.ground.shapes import Shape, ShapeError

__all__ = ["AITM", "PLE", "FusionTower", "Mmoe", "RelationMLP"]

Layers = Annotated[Widths, Field(min_length=1)]
Counts = Annotated[PositiveInt | tuple[PositiveInt, ...], BeforeValidator(as_tuple)]
"""One number for all levels, or one per level."""
LevelLayers = Annotated[
    tuple[PositiveInt, ...] | tuple[Annotated[tuple[PositiveInt, ...], Field(min_length=1)], ...],
    BeforeValidator(as_tuple),
    Field(min_length=1),
]
"""Layer widths for all levels, or a list of them per level."""

_PLAIN = {"norm": ("none",), "dropout": (0.0,), "activation": FUSED}
"""What experts must be for a kernel that computes them together."""
_MMOE = {
    **_PLAIN,
    "expert_dropout": (0.0,),
    "gate_norm": ("none",),
    "gate_dropout": (0.0,),
    "gate_activation": FUSED,
}
_PLE = {**_PLAIN, "expert_dropout": (0.0,)}


class Mmoe(Perceptron):
    """Experts shared by all gates, mixed by each in its own way (Ma et al., 2018)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {
        "torch": "graphrec.nn:MMoE",
        "triton": Kernel(
            "graphrec.kernels:TritonMMoE", devices=("cuda",), needs=("triton",), allow=_MMOE
        ),
        "stacked": Kernel("graphrec.kernels:StackedMMoE", allow=_MMOE),
    }
    splits: ClassVar[tuple[str, ...]] = ("x",)
    experts: PositiveInt
    """Number of experts."""
    hidden: Layers
    """Layers of each expert."""
    gates: Names
    """Names of the outputs, one gate each; `tasks` for all tasks."""
    gate_hidden: Widths = ()
    """Layers of an MLP before each gate's Linear; without them it reads x."""
    gate_activation: Activation = "relu"
    """Activation of the gates' MLPs."""
    gate_norm: Norm = "none"
    """Norm of the gates' MLPs."""
    gate_bias: bool = True
    """Whether the gates' MLPs have a bias."""
    gate_dropout: Rates = 0.0
    """Drop probability of the gates' MLPs, one for all layers or one for each."""
    bias: bool = True
    """Whether the experts' Linears have a bias."""
    expert_dropout: Rate = 0.0
    """Probability that a gate leaves out an expert; the others' weights sum to 1 again."""

    @model_validator(mode="after")
    def _consistent(self) -> Mmoe:
        own = ("gate_activation", "gate_norm", "gate_bias", "gate_dropout")
        if not self.gate_hidden and self.chosen(*own):
            raise ValueError(
                "gate_activation, gate_norm, gate_bias and gate_dropout need the layers of"
                " gate_hidden: [64]"
            )
        if isinstance(self.gate_dropout, tuple) and len(self.gate_dropout) != len(self.gate_hidden):
            raise ValueError(
                f"gate_dropout has {len(self.gate_dropout)} numbers for {len(self.gate_hidden)}"
                " layers of gate_hidden"
            )
        return self

    def infer(self, x: Shape) -> dict[str, Shape]:
        expect_vector(x)
        return dict.fromkeys(self.gates, x.resize(self.hidden[-1]))

    def args(self, x: Shape) -> dict[str, Any]:
        gates = ("gate_hidden", "gate_activation", "gate_norm", "gate_bias", "gate_dropout")
        own = ("experts", "hidden", "gates", "activation", "norm", "dropout", "bias")
        rest = self.chosen(*own, *gates, "expert_dropout")
        return {"in_features": x.width, **rest}

    def parameters(self, x: Shape) -> int:
        own = perceptron(
            x.width, self.gate_hidden, self.gate_activation, self.gate_norm, self.gate_bias
        )
        gate = own + linear([x.width, *self.gate_hidden][-1], self.experts)
        return self.experts * self.perceptron(x.width, self.hidden) + len(self.gates) * gate


class PLE(Perceptron):
    """Experts of each task and shared ones, extracted level by level (Tang et al., 2020)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {
        "torch": "graphrec.nn:PLE",
        "triton": Kernel(
            "graphrec.kernels:TritonPLE", devices=("cuda",), needs=("triton",), allow=_PLE
        ),
        "stacked": Kernel("graphrec.kernels:StackedPLE", allow=_PLE),
    }
    splits: ClassVar[tuple[str, ...]] = ("x",)
    levels: PositiveInt
    """Number of extraction levels."""
    gates: Names
    """Names of the outputs; `tasks` for all tasks."""
    private: Counts
    """Experts of each task; one number, or one per level."""
    shared: Counts
    """Shared experts; one number, or one per level."""
    hidden: LevelLayers
    """Layers of each expert; one list, or one per level."""
    shared_hidden: LevelLayers | None = None
    """Layers of the shared experts, if they are others."""
    bias: bool = True
    """Whether the experts' Linears have a bias."""
    expert_dropout: Rate = 0.0
    """Probability that a gate leaves out an expert; the others' weights sum to 1 again."""

    @model_validator(mode="after")
    def _fits_levels(self) -> PLE:
        for name in ("private", "shared", "hidden", "shared_hidden"):
            value = getattr(self, name)
            counts = name in ("private", "shared")
            per_level = isinstance(value, tuple) and (counts or isinstance(value[0], tuple))
            if per_level and len(value) != self.levels:
                raise ValueError(f"{name} has {len(value)} entries for {self.levels} levels")
        lists = [h for h in (self.hidden, self.shared_hidden) if h and isinstance(h[0], tuple)]
        for level in range(len(lists[0]) if lists else 1):  # else all levels are alike
            own, shared = (
                _last(h, level) for h in (self.hidden, self.shared_hidden or self.hidden)
            )
            if own != shared:
                raise ValueError(
                    f"experts are mixed, so their last layers need one width: level {level} has"
                    f" {own} in hidden and {shared} in shared_hidden"
                )
        return self

    def infer(self, x: Shape) -> dict[str, Shape]:
        expect_vector(x)
        return dict.fromkeys(self.gates, x.resize(_last(self.hidden, self.levels - 1)))

    def args(self, x: Shape) -> dict[str, Any]:
        names = ("levels", "gates", "private", "shared", "hidden", "shared_hidden")
        rest = self.chosen(*names, "activation", "norm", "dropout", "bias", "expert_dropout")
        return {"in_features": x.width, **rest}

    def parameters(self, x: Shape) -> int:
        numbers = (self.private, self.shared)
        lists = (self.hidden, self.shared_hidden or ())
        vary = any(isinstance(n, tuple) for n in numbers) or any(
            isinstance(layers[0], tuple) for layers in lists if layers
        )
        if vary or self.levels < 3:
            widths = [x.width, *(_last(self.hidden, level) for level in range(self.levels - 1))]
            return sum(self._of_level(level, width) for level, width in enumerate(widths))
        # Levels in the middle are alike: an absurd number of them is told as fast as any other.
        width, last = _last(self.hidden, 0), self.levels - 1
        middle = (self.levels - 2) * self._of_level(1, width)
        return self._of_level(0, x.width) + middle + self._of_level(last, width)

    def _of_level(self, level: int, width: int) -> int:
        """Parameters of the experts and gates of a level that reads vectors of `width`."""
        tasks = len(self.gates)
        private, shared = (_count(n, level) for n in (self.private, self.shared))
        common = _layers(self.shared_hidden or self.hidden, level)
        count = tasks * private * self.perceptron(width, _layers(self.hidden, level))
        count += shared * self.perceptron(width, common)
        count += tasks * linear(width, private + shared)
        if level < self.levels - 1:
            count += linear(width, tasks * private + shared)
        return count


def _layers(hidden: tuple[Any, ...], level: int) -> tuple[int, ...]:
    """Layers of a level's experts."""
    return hidden[level] if isinstance(hidden[0], tuple) else hidden


def _last(hidden: tuple[Any, ...], level: int) -> int:
    """Width of a level's experts."""
    return _layers(hidden, level)[-1]


def _count(number: int | tuple[int, ...], level: int) -> int:
    return number if isinstance(number, int) else number[level]


class RelationMLP(Perceptron):
    """A task's tower beside its parents' outputs, through an MLP (DBMTL; Wang et al., 2019)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:RelationMLP"}
    splits: ClassVar[tuple[str, ...]] = ("xs",)
    hidden: Layers = (32,)
    """Layers of the MLP."""
    bias: bool = True
    """Whether the Linears have a bias."""

    def infer(self, *xs: Shape) -> Shape:
        for x in xs:
            expect_vector(x, "towers")
        return concatenated(xs).resize(self.hidden[-1])

    def args(self, *xs: Shape) -> dict[str, Any]:
        rest = self.chosen("activation", "norm", "dropout", "bias")
        return {"in_features": concatenated(xs).width, "hidden": list(self.hidden), **rest}

    def parameters(self, *xs: Shape) -> int:
        return self.perceptron(concatenated(xs).width, self.hidden)


class AITM(Settings):
    """Attention between a task's tower and what its parents pass on (Xi et al., 2021)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:AITM"}

    def infer(self, own: Shape, *parents: Shape) -> Shape:
        expect_vector(own, "a tower")
        if not parents:
            raise ShapeError("needs at least one parent")
        for parent in parents:
            expect_vector(parent, "a parent")
            expect_same(own, parent, "the tower and its parents")
        return own

    def args(self, own: Shape, *parents: Shape) -> dict[str, Any]:
        return {"in_features": own.width, "parents": len(parents)}

    def parameters(self, own: Shape, *parents: Shape) -> int:
        return (len(parents) + 3) * linear(own.width, own.width)


class FusionTower(Perceptron):
    """user * item, an optional MLP, and one Linear split into the outputs."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:FusionTower"}
    spreads: ClassVar[tuple[str, ...]] = ("user", "item")
    outputs: Annotated[dict[Name, PositiveInt], Field(min_length=1)]
    """Outputs by name with their number of classes (1 for a logit)."""
    hidden: Widths = ()
    """Layers of an MLP before the Linear."""
    bias: bool = True
    """Whether the MLP's Linears have a bias."""

    @model_validator(mode="after")
    def _consistent(self) -> FusionTower:
        if not self.hidden and self.chosen("activation", "norm", "dropout", "bias"):
            raise ValueError("activation, norm, dropout and bias need the layers of hidden: [64]")
        return self

    def infer(self, user: Shape, item: Shape) -> dict[str, Shape]:
        expect_vector(user, "user")
        expect_vector(item, "item")
        expect_same(user, item, "user and item")
        return {name: user.resize(self.outputs[name]) for name in sorted(self.outputs)}

    def args(self, user: Shape, item: Shape) -> dict[str, Any]:
        return {
            "in_features": user.width,
            "outputs": {name: self.outputs[name] for name in sorted(self.outputs)},
            **self.chosen("hidden", "activation", "norm", "dropout", "bias"),
        }

    def parameters(self, user: Shape, item: Shape) -> int:
        head = linear([user.width, *self.hidden][-1], sum(self.outputs.values()))
        return self.perceptron(user.width, self.hidden) + head
