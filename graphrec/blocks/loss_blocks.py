"""Blocks that give a term of the loss instead of a tensor to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from graphrec.blocks.base import Kernel
from graphrec.blocks.parameters import Settings, expect_same, expect_vector
from graphrec.ground.shapes import B, Shape, ShapeError

__all__ = ["Hint", "InfoNCE", "OrderCalibrated", "Similarity"]


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


class _Taught(Settings):
    """What losses of distillation share: a student that is pulled towards a teacher."""

    is_loss: ClassVar[bool] = True

    def infer(self, student: Shape, teacher: Shape, weight: Shape | None = None) -> Shape:
        expect_vector(student, "a student")
        expect_vector(teacher, "a teacher")
        expect_same(student, teacher, "student and teacher")
        if weight is not None and weight.dims != (B, 1):
            raise ShapeError(f"needs a weight [B, 1], got {weight}")
        return Shape(())

    def parameters(self, student: Shape, teacher: Shape, weight: Shape | None = None) -> int:
        return 0

    def repeats(self, training: bool) -> bool:
        return False


class Hint(_Taught):
    """What a teacher predicts, taught to a student: no gradient reaches the teacher.

    Of logits or hidden layers the mean squared difference (Romero et al., 2015; Zhou et al., 2018),
    or of logits the cross entropy with softened outputs (Hinton et al., 2015).
    """

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:Hint"}
    kind: Literal["squared", "soft"] = "squared"
    """`squared` difference, or cross entropy of `soft` outputs: sigmoid of one, else softmax."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of soft outputs: what logits are divided by; the loss is multiplied by its square."""

    def args(self, student: Shape, teacher: Shape, weight: Shape | None = None) -> dict[str, Any]:
        return self.chosen("kind", "temperature")


class Similarity(_Taught):
    """A student's layer pulled towards a teacher's of equal width; none reaches the teacher.

    1 - cosine, or the root of the summed squares of a batch (feature distillation; Zhou et al.,
    2018).
    """

    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:Similarity"}
    kind: Literal["cosine", "euclid"] = "cosine"
    """`cosine`: the mean of 1 - cos; `euclid`: the distance of the whole batch."""

    def args(self, student: Shape, teacher: Shape, weight: Shape | None = None) -> dict[str, Any]:
        return self.chosen("kind")


class OrderCalibrated(Settings):
    """Probabilities along a funnel must not rise: mean of max(0, p_next - p) (Xi et al., 2021).

    The behavioural expectation calibrator of AITM; `in` lists them from the first step on.
    """

    is_loss: ClassVar[bool] = True
    kernels: ClassVar[Mapping[str, str | Kernel]] = {"torch": "graphrec.nn:OrderCalibrated"}

    def infer(self, *steps: Shape) -> Shape:
        if len(steps) < 2:
            raise ShapeError("needs two probabilities or more, in their order")
        for shape in steps:
            if shape.dims != (B, 1):
                raise ShapeError(f"needs probabilities [B, 1], got {shape}")
        return Shape(())

    def args(self, *steps: Shape) -> dict[str, Any]:
        return {}

    def parameters(self, *steps: Shape) -> int:
        return 0

    def repeats(self, training: bool) -> bool:
        return False
