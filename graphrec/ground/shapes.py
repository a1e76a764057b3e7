"""Sizes: the only vocabulary in which graphrec speaks of tensors.

A dimension is an int, `B` (rows of a batch) or `L.<sequence>` (steps of one history; every sequence
has a symbol of its own, so two histories never mix by accident). A tensor with an `L` dimension
travels jagged: `graphrec.nn.Jagged`, real steps only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["SPLIT", "B", "Dim", "Shape", "ShapeError", "length"]

Dim = int | str
B = "B"
SPLIT = "1|B"
"""Rows of a value whose columns are partly of one request, partly of its candidates."""


def length(sequence: str) -> str:
    """The symbol for the number of steps in a sequence.

    >>> length("click_50")
    'L.click_50'
    """
    return f"L.{sequence}"


class ShapeError(ValueError):
    """Raised by `Block.infer` when inputs can't be used; says what was given and what is needed."""


@dataclass(frozen=True)
class Shape:
    """The type of a port: dimensions and dtype (`float` or `bool`).

    >>> str(Shape(("B", 64))), Shape(("B", 64)).resize(8).width
    ('[B, 64]', 8)
    """

    dims: tuple[Dim, ...]
    dtype: str = "float"

    @property
    def rank(self) -> int:
        return len(self.dims)

    @property
    def width(self) -> int:
        """Size of the last dimension; a ShapeError if that is not a number."""
        last = self.dims[-1] if self.dims else None
        if not isinstance(last, int):
            raise ShapeError(f"needs a last dimension of known width, got {self}")
        return last

    @property
    def is_jagged(self) -> bool:
        return any(isinstance(d, str) and d not in (B, SPLIT) for d in self.dims)

    @property
    def steps(self) -> Dim:
        """The second dimension: steps of a sequence, or number of fields."""
        if self.rank < 2:
            raise ShapeError(f"needs a sequence or fields, got {self}")
        return self.dims[1]

    def resize(self, width: int) -> Shape:
        """The same shape with another last dimension."""
        return replace(self, dims=(*self.dims[:-1], width))

    def expect(self, rank: int, what: str) -> Shape:
        """This shape, if it has `rank` dimensions; else a ShapeError that says `what` is needed."""
        if self.rank != rank:
            raise ShapeError(f"needs {what}, got {self}")
        return self

    def __str__(self) -> str:
        return "[" + ", ".join("L" if str(d).startswith("L.") else str(d) for d in self.dims) + "]"
