"""Blocks that give a term of the loss instead of a tensor to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from graphrec.blocks.base import Kernel
from graphrec.blocks.parameters import Settings, expect_same, expect_vector
from graphrec.ground.shapes import Shape

__all__ = ["InfoNCE"]


class InfoNCE(Settings):
    """Contrastive loss: a row's b is told from the other rows' by its a (van den Oord, 2018)."""

    is_loss: ClassVar[bool] = True
    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:InfoNCE"}
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """The cosines are divided by it."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Factor of this term in the loss."""

    def infer(self, a: Shape, b: Shape) -> Shape:
        expect_vector(a, "a")
        expect_vector(b, "b")
        expect_same(a, b, "a and b")
        return Shape(())

    def args(self, a: Shape, b: Shape) -> dict[str, Any]:
        return self.chosen("temperature", "weight")

    def parameters(self, a: Shape, b: Shape) -> int:
        return 0

    def repeats(self, training: bool) -> bool:
        return False  # every term of the loss counts, equal ones too
