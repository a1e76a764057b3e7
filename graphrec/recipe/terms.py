"""An expression as a tree of terms, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "Apply",
    "Arithmetic",
    "Compare",
    "Expression",
    "ExpressionError",
    "ExpressionShapeError",
    "Name",
    "Negative",
    "Number",
    "Term",
]


class ExpressionError(ValueError):
    """What is wrong in how it is written, and at which 0-based column of the text."""

    code = "GR207"

    def __init__(self, message: str, column: int = 0, help: str = "") -> None:
        super().__init__(message)
        self.column = column
        self.help = help


class ExpressionShapeError(ExpressionError):
    """What is wrong with the shapes of what is named."""

    code = "GR505"


@dataclass(frozen=True)
class Name:
    """A reference as written: `deep`, `all.linear`."""

    ref: str
    column: int = 0


@dataclass(frozen=True)
class Number:
    """A literal number."""

    value: int | float


@dataclass(frozen=True)
class Negative:
    """Unary minus."""

    operand: Term


@dataclass(frozen=True)
class Arithmetic:
    """One of `+ - * /`."""

    operator: str
    left: Term
    right: Term
    column: int = 0


@dataclass(frozen=True)
class Compare:
    """A comparison; only as the first argument of `where`."""

    operator: str
    left: Term
    right: Term
    column: int = 0


@dataclass(frozen=True)
class Apply:
    """A weight-free function; `sizes` are its integer arguments (`slice`, `reshape`)."""

    function: str
    args: tuple[Term, ...]
    sizes: tuple[int, ...] = ()
    column: int = 0


Term = Name | Number | Negative | Arithmetic | Compare | Apply


@dataclass(frozen=True)
class Expression:
    """A parsed expression: its text and its tree."""

    text: str
    tree: Term

    def names(self) -> tuple[Name, ...]:
        """Every reference, in the order written."""
        return tuple(_names(self.tree))


def _names(term: Term) -> Iterator[Name]:
    if isinstance(term, Name):
        yield term
    elif isinstance(term, Negative):
        yield from _names(term.operand)
    elif isinstance(term, (Arithmetic, Compare)):
        yield from _names(term.left)
        yield from _names(term.right)
    elif isinstance(term, Apply):
        for arg in term.args:
            yield from _names(arg)
