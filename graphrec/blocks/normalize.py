"""Norms and dropout as nodes of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from graphrec.blocks.base import Kernel
from graphrec.blocks.parameters import Rate, Settings
from graphrec.ground.shapes import Shape

__all__ = ["BatchNorm", "Dropout", "LayerNorm"]


class LayerNorm(Settings):
    """Layer norm over the last axis (Ba et al., 2016)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:LayerNormalization"}

    def infer(self, x: Shape) -> Shape:
        return x

    def args(self, x: Shape) -> dict[str, Any]:
        return {"normalized_shape": x.width}

    def parameters(self, x: Shape) -> int:
        return 2 * x.width


class BatchNorm(Settings):
    """Batch norm over the last axis; every row and step counts (Ioffe & Szegedy, 2015)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:BatchNormalization"}

    def infer(self, x: Shape) -> Shape:
        return x

    def args(self, x: Shape) -> dict[str, Any]:
        return {"width": x.width}

    def parameters(self, x: Shape) -> int:
        return 2 * x.width

    def repeats(self, training: bool) -> bool:
        """In training each application moves the running statistics."""
        return not training


class Dropout(Settings):
    """Numbers set to 0 at random in training (Srivastava et al., 2014)."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:DropoutLayer"}
    rate: Rate
    """Probability of 0."""

    def infer(self, x: Shape) -> Shape:
        return x

    def args(self, x: Shape) -> dict[str, Any]:
        return {"rate": self.rate}

    def parameters(self, x: Shape) -> int:
        return 0

    def repeats(self, training: bool) -> bool:
        """In training each application draws anew."""
        return not training or self.rate == 0
