"""Recurrence over a history: GRU, and GRU led by attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import PositiveInt

from graphrec.blocks.base import Kernel
from graphrec.blocks.parameters import Settings, expect_keys
from graphrec.blocks.weight_counts import linear
from graphrec.ground.shapes import B, Shape, ShapeError

__all__ = ["Augru", "Gru"]


class Gru(Settings):
    """The state after every step of a history (GRU; Cho et al., 2014)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:GRU"}
    units: PositiveInt
    """Width of the state."""

    def infer(self, keys: Shape, mask: Shape | None = None) -> Shape:
        expect_keys(keys, mask)
        return keys.resize(self.units)

    def args(self, keys: Shape, mask: Shape | None = None) -> dict[str, Any]:
        return {"in_features": keys.width, "units": self.units}

    def parameters(self, keys: Shape, mask: Shape | None = None) -> int:
        return linear(keys.width, 3 * self.units) + linear(self.units, 3 * self.units)


class Augru(Settings):
    """The last state of a GRU whose updates are scaled by weights (DIEN; Zhou et al., 2019)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:AUGRU"}
    units: PositiveInt
    """Width of the state."""

    def infer(self, weights: Shape, keys: Shape) -> Shape:
        expect_keys(keys, None)
        if weights.dims != (*keys.dims[:2], 1):
            raise ShapeError(
                f"needs one weight per step, {keys.resize(1)} of the same sequence, got {weights}"
            )
        return Shape((B, self.units))

    def args(self, weights: Shape, keys: Shape) -> dict[str, Any]:
        return {"in_features": keys.width, "units": self.units}

    def parameters(self, weights: Shape, keys: Shape) -> int:
        return linear(keys.width, 3 * self.units) + linear(self.units, 3 * self.units)
