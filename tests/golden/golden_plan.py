"""A case on its way into graphrec: the recipe, the batch, and what each golden name is called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from golden_case import Case
from torch import Tensor

from graphrec.nn import Jagged

__all__ = [
    "Leaf",
    "Plan",
    "Unsupported",
    "Weight",
    "attribute",
    "joined",
    "legal",
    "padding",
    "perceptron",
    "settings",
]


class Unsupported(Exception):
    """A case that has no translation."""


@dataclass(frozen=True)
class Weight:
    """Where a golden weight lives: an entry of the module's state_dict.

    `padded`: a table, whose last row (of unseen values) the golden one does not have. `rows`: the
    golden rows in the order of ours. `transposed`: ours is [out, in], the golden one [in, out].
    """

    key: str
    padded: bool = False
    rows: tuple[int, ...] = ()
    transposed: bool = False

    def ours(self, golden: Tensor, like: Tensor) -> Tensor:
        """The golden value in the form of ours."""
        value = golden.t() if self.transposed else golden
        if self.rows:
            value = value[list(self.rows)]
        if self.padded:
            value = torch.cat([value, value.new_zeros(1, value.shape[1])])
        if value.numel() != like.numel():
            raise Unsupported(f"{self.key} is {[*like.shape]} here, {[*value.shape]} there")
        return value.reshape(like.shape)

    def golden(self, ours: Tensor, like: Tensor) -> Tensor:
        """The gradient of ours in the form of the golden one."""
        value = ours[:-1] if self.padded else ours
        if self.rows:
            value = torch.empty_like(value).index_copy_(0, torch.tensor(self.rows), value)
        return (value.t() if self.transposed else value).reshape(like.shape)


@dataclass
class Plan:
    """A recipe under construction, and the batch that it reads."""

    case: Case
    features: list[dict[str, Any]] = field(default_factory=list)
    groups: dict[str, Any] = field(default_factory=dict)
    graph: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, Any] = field(default_factory=dict)
    relations: list[Any] = field(default_factory=list)
    train: dict[str, Any] = field(default_factory=dict)
    exports: dict[str, str] = field(default_factory=dict)
    """Output of the case -> exported node."""
    weights: dict[str, Weight] = field(default_factory=dict)
    columns: dict[str, Tensor | Jagged] = field(default_factory=dict)
    """The batch's features."""
    leaves: dict[str, Leaf] = field(default_factory=dict)
    """Inputs that have a gradient, by golden name."""
    dropped: dict[str, float] = field(default_factory=dict)
    """Concatenations with variational dropout over their inputs, and the penalty's factor."""
    noise: dict[str, Tensor] = field(default_factory=dict)
    """Uniform numbers by the attribute of the layer that draws them."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Predictions and losses: ours -> golden."""

    def recipe(self) -> dict[str, Any]:
        """The recipe as plain data."""
        made: dict[str, Any] = {"graphrec": 1, "name": f"golden_{legal(self.case.name)}"}
        made["features"] = self.features
        made |= {"groups": self.groups, "graph": self.graph, "tasks": self.tasks}
        for section in ("relations", "train"):
            if getattr(self, section):
                made[section] = getattr(self, section)
        if self.exports:
            made["export"] = {"nodes": sorted(set(self.exports.values()))}
        return made

    def node(self, name: str, block: str, inputs: Any, **params: Any) -> str:
        """Add a node."""
        self.graph[name] = {"block": block, "in": inputs, **params}
        return name

    def mlp(self, key: str, spec: Mapping[str, Any], inputs: Any) -> str:
        """Add the MLP whose golden weights are `<key>.<i>.*`."""
        name = attribute(key)
        self.perceptron(key, name)
        return self.node(name, "mlp", inputs, **perceptron(spec))

    def linear(self, key: str, inputs: Any, out: int) -> str:
        """Add the Linear whose golden weights are `<key>.weight` and perhaps `<key>.bias`."""
        name = attribute(key)
        self.pair(key, name)
        bias = {} if f"w/{key}.bias" in self.case.arrays else {"bias": False}
        return self.node(name, "linear", inputs, out=out, **bias)

    def perceptron(self, key: str, ours: str) -> None:
        """Map `<key>.<i>.*` to the layers of the MLP `ours`."""
        pattern = re.compile(rf"{re.escape(key)}\.(\d+\..+)")
        for golden in self.case.part("w"):
            if found := pattern.fullmatch(golden):
                self.weights[golden] = Weight(f"{ours}.layers.{found[1]}")

    def pair(self, key: str, ours: str) -> None:
        """Map `<key>.weight` and `<key>.bias`, those that there are."""
        for part in ("weight", "bias"):
            if f"w/{key}.{part}" in self.case.arrays:
                self.weights[f"{key}.{part}"] = Weight(f"{ours}.{part}")


@dataclass
class Leaf:
    """An input with a gradient: the tensor in the batch, and the golden layout of it."""

    tensor: Tensor
    shape: tuple[int, ...]
    steps: Tensor | None = None
    """Which entries [B, T] of a padded sequence are real."""

    def gradient(self) -> Tensor | None:
        grad = self.tensor.grad
        if grad is None or self.steps is None:
            return None if grad is None else grad.reshape(self.shape)
        padded = grad.new_zeros(self.shape)
        padded[self.steps] = grad
        return padded


def perceptron(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an MLP spec as parameters of a block."""
    return {"hidden": list(spec["units"]), **settings(spec)}


def settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Activation, norm and bias as parameters, where they are not the blocks' defaults."""
    made: dict[str, Any] = {}
    if spec["activation"] != "relu":
        slope = spec.get("slope", 0.01)
        plain = spec["activation"] != "leaky_relu" or slope == 0.01
        made["activation"] = spec["activation"] if plain else f"leaky_relu({slope})"
    if spec["norm"] != "none":
        made["norm"] = spec["norm"]
    # Batch norm takes the bias away, here and there.
    if not spec.get("bias", True) and spec["norm"] != "batch":
        made["bias"] = False
    return made


def padding(spec: Mapping[str, Any]) -> dict[str, str]:
    """The reference counts padded steps in its batch statistics."""
    counted = spec["norm"] == "batch" or spec["activation"] == "dice"
    return {"norm_padding": "include"} if counted else {}


def attribute(key: str) -> str:
    """A node's name for a golden key: `tower.user` -> `n_tower_user`."""
    return f"n_{legal(key)}"


def legal(text: str) -> str:
    """The text as a part of a name; different texts of one case stay different."""
    plain = re.sub(r"[^a-z0-9_]", "_", text.lower())
    return plain if plain == text.replace(".", "_") else f"{plain}_{sum(map(ord, text)) % 9973}"


def joined(*parts: str | Sequence[str]) -> list[str]:
    """References one after another, for `in:`."""
    return [ref for part in parts for ref in ([part] if isinstance(part, str) else part)]
