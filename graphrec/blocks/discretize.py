"""Numbers made into fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, PositiveInt

from graphrec.blocks.base import Kernel
from graphrec.blocks.parameters import Settings
from graphrec.ground.shapes import Shape, ShapeError

__all__ = ["Autodis"]


class Autodis(Settings):
    """A vector for every number, mixed of learned meta embeddings (AutoDis; Guo et al., 2021)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:AutoDiscretization"}
    dim: PositiveInt
    """Width of the vectors."""
    channels: PositiveInt
    """Number of meta embeddings of each number."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Softmax temperature: the lower, the harder the buckets."""
    skip: float = 0.1
    """Weight of the skip connection."""

    def infer(self, values: Shape) -> Shape:
        if values.rank != 2 or values.width < 1:
            raise ShapeError(f"needs numbers [B, N], got {values}; take `.values` of a group")
        return Shape((values.dims[0], values.width, self.dim))

    def args(self, values: Shape) -> dict[str, Any]:
        rest = self.chosen("temperature", "skip")
        return {"num_values": values.width, "dim": self.dim, "channels": self.channels, **rest}

    def parameters(self, values: Shape) -> int:
        return values.width * self.channels * (1 + self.channels + self.dim)
