"""The functions of expressions, and the shape of a term: one table, read by reader and compiler."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from graphrec.ground.shapes import Dim, Shape, ShapeError
from graphrec.recipe.terms import (
    Apply,
    Arithmetic,
    Compare,
    ExpressionShapeError,
    Name,
    Negative,
    Number,
    Term,
)

__all__ = ["FUNCTIONS", "infer"]


def infer(term: Term, shapes: Mapping[str, Shape]) -> Shape:
    """Shape of a term, given the shape of every reference; a bare number has shape [].

    Raises ExpressionShapeError naming both shapes where operands do not fit.
    """
    if isinstance(term, Name):
        return shapes[term.ref]
    if isinstance(term, Number):
        return Shape(())
    if isinstance(term, Negative):
        return infer(term.operand, shapes)
    if isinstance(term, (Arithmetic, Compare)):
        left, right = infer(term.left, shapes), infer(term.right, shapes)
        return _broadcast(left, right, f"`{term.operator}`", term.column)
    args = [infer(arg, shapes) for arg in term.args]
    for arg in args:
        if arg.rank == 0 and term.function not in ("where", "clip"):
            raise ExpressionShapeError(f"{term.function} needs tensors, got a number", term.column)
    try:
        return FUNCTIONS[term.function].infer(args, term)
    except ShapeError as error:
        raise ExpressionShapeError(f"{term.function} {error}", term.column) from None


def _broadcast(left: Shape, right: Shape, what: str, column: int) -> Shape:
    if left.rank == 0 or right.rank == 0 or left.dims == right.dims:
        return right if left.rank == 0 else left
    if left.dims[:-1] == right.dims[:-1] and 1 in (left.dims[-1], right.dims[-1]):
        return right if left.dims[-1] == 1 else left
    raise ExpressionShapeError(
        f"{what} needs equal shapes, a number or a width of 1, got {left} and {right}", column
    )


def _elementwise(args: list[Shape], term: Apply) -> Shape:
    return args[0]


def _reduce(args: list[Shape], term: Apply) -> Shape:
    return args[0].resize(1)


def _pair(args: list[Shape], term: Apply) -> Shape:
    left, right = args
    if left.dims != right.dims:
        raise ShapeError(f"needs two equal shapes, got {left} and {right}")
    return left.resize(1)


def _concat(args: list[Shape], term: Apply) -> Shape:
    for arg in args[1:]:
        if arg.dims[:-1] != args[0].dims[:-1]:
            raise ShapeError(
                f"needs shapes that differ in the last dimension only, got {args[0]} and {arg}"
            )
    return args[0].resize(sum(arg.width for arg in args))


def _stack(args: list[Shape], term: Apply) -> Shape:
    for arg in args:
        if arg.rank != 2 or arg.dims != args[0].dims:
            raise ShapeError(f"needs equal shapes [B, D], got {args[0]} and {arg}")
    return Shape((args[0].dims[0], len(args), args[0].dims[1]))


def _slice(args: list[Shape], term: Apply) -> Shape:
    start, stop = term.sizes
    if not 0 <= start < stop <= args[0].width:
        raise ShapeError(f"{start}:{stop} is outside of {args[0]}")
    return args[0].resize(stop - start)


def _reshape(args: list[Shape], term: Apply) -> Shape:
    dims: tuple[Dim, ...] = args[0].dims[1:]
    if not all(isinstance(d, int) for d in dims) or args[0].rank < 2:
        raise ShapeError(f"needs fixed sizes behind B, got {args[0]}")
    if math.prod(int(d) for d in dims) != math.prod(term.sizes) or 0 in term.sizes:
        raise ShapeError(f"can't turn {args[0]} into [B, {', '.join(map(str, term.sizes))}]")
    return Shape(("B", *term.sizes), args[0].dtype)


def _clip(args: list[Shape], term: Apply) -> Shape:
    if args[1].rank or args[2].rank or not args[0].rank:
        raise ShapeError("needs a tensor and two numbers: clip(x, low, high)")
    return args[0]


def _where(args: list[Shape], term: Apply) -> Shape:
    picked = _broadcast(args[1], args[2], "where", term.column)
    return _broadcast(args[0], picked, "where", term.column)


def _spread(args: list[Shape], term: Apply) -> Shape:
    row, steps = args
    if row.rank != 2 or steps.rank != 3:
        raise ShapeError(
            f"needs a vector [B, D], and a history [B, L, E] or fields [B, N, E], got {row} and"
            f" {steps}"
        )
    return steps.resize(row.width)


@dataclass(frozen=True)
class _Function:
    """Number of tensor arguments (high 0: any), shape, use and meaning; whether sizes follow."""

    tensors: tuple[int, int]
    infer: Callable[[list[Shape], Apply], Shape]
    usage: str
    doc: str
    sizes: bool = False


_ELEMENTWISE = {
    "sigmoid": "1 / (1 + exp(-x)), of every number.",
    "tanh": "Hyperbolic tangent of every number.",
    "relu": "max(x, 0), of every number.",
    "softmax": "Numbers of the last dimension as shares that sum to 1.",
    "detach": "x, through which no gradient flows; also written stop(x).",
    "exp": "e to the power of every number.",
    "log": "Natural logarithm of every number.",
    "log1p": "Natural logarithm of 1 + x, of every number.",
    "abs": "Absolute value of every number.",
    "sqrt": "Square root of every number.",
}
_REDUCED = {
    "sum": "Sum over the last dimension: [B, D] -> [B, 1].",
    "mean": "Mean over the last dimension: [B, D] -> [B, 1].",
    "max": "Maximum over the last dimension: [B, D] -> [B, 1].",
}

FUNCTIONS: Mapping[str, _Function] = {
    **{n: _Function((1, 1), _elementwise, f"{n}(x)", doc) for n, doc in _ELEMENTWISE.items()},
    **{n: _Function((1, 1), _reduce, f"{n}(x)", doc) for n, doc in _REDUCED.items()},
    "dot": _Function(
        (2, 2), _pair, "dot(a, b)", "Inner product on the last dimension: two [B, D] -> [B, 1]."
    ),
    "cos": _Function(
        (2, 2), _pair, "cos(a, b)", "Cosine on the last dimension: two [B, D] -> [B, 1]."
    ),
    "spread": _Function(
        (2, 2),
        _spread,
        "spread(row, history)",
        "A vector repeated for every step of a history, or every field: [B, D] -> [B, L, D].",
    ),
    "concat": _Function(
        (1, 0), _concat, "concat(a, b, ...)", "Side by side, on the last dimension."
    ),
    "stack": _Function(
        (1, 0), _stack, "stack(a, b, ...)", "N equal vectors as fields: [B, D] each -> [B, N, D]."
    ),
    "clip": _Function(
        (3, 3), _clip, "clip(x, low, high)", "Every number held between two numbers."
    ),
    "where": _Function(
        (3, 3),
        _where,
        "where(a > b, x, y)",
        "x where the comparison (> >= < <=) holds, else y, number by number.",
    ),
    "power": _Function(
        (1, 1), _elementwise, "x ** 2", "A whole power from 2 to 8, of every number.", sizes=True
    ),
    "slice": _Function(
        (1, 1),
        _slice,
        "slice(x, start, stop)",
        "Numbers start to stop - 1 of the last dimension.",
        sizes=True,
    ),
    "reshape": _Function(
        (1, 1),
        _reshape,
        "reshape(x, [N, D])",
        "The numbers behind B in another shape: [B, N * D] -> [B, N, D].",
        sizes=True,
    ),
}
