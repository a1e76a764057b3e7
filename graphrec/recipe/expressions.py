"""The expression language of string nodes: Python syntax, an allow-list, nothing evaluated.

`all.linear + sum(fm) + deep` is read with `ast` into a small tree of terms; `infer` gives its shape
from the shapes of what it names, and `lower.py` prints it as it stands.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from graphrec.errors import suggestion
from graphrec.shapes import Dim, Shape, ShapeError

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
    "infer",
    "parse_expression",
]

_LIMIT = 2000
_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARISONS = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<="}


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


# ---- reading ------------------------------------------------------------------------------------


def parse_expression(text: str) -> Expression:
    """Read an expression; raises ExpressionError with the column of what isn't allowed.

    >>> [n.ref for n in parse_expression("all.linear + sum(fm) + deep").names()]
    ['all.linear', 'fm', 'deep']
    """
    if len(text) > _LIMIT:
        raise ExpressionError(f"is longer than {_LIMIT} characters: name its parts as nodes")
    if not text.isascii():
        column = next(i for i, c in enumerate(text) if not c.isascii())
        raise ExpressionError("names and operators of an expression are plain ASCII", column)
    if "\n" in text or "\r" in text:
        text = re.sub(r"[\r\n]", " ", text)
    stripped = text.lstrip()
    shift = len(text) - len(stripped)
    try:
        tree = ast.parse(stripped, mode="eval").body
    except SyntaxError as error:
        column = max(0, (error.offset or 1) - 1) + shift
        raise ExpressionError(f"can't be read as an expression: {error.msg}", column) from None
    except (ValueError, RecursionError, MemoryError):
        raise ExpressionError("can't be read as an expression") from None
    try:
        return Expression(text.strip(), _read(tree, shift))
    except RecursionError:
        raise ExpressionError("is nested too deeply: name its parts as nodes") from None


def _read(node: ast.expr, shift: int) -> Term:
    column = node.col_offset + shift
    if isinstance(node, ast.Constant):
        return Number(_number(node, column))
    if isinstance(node, ast.Name):
        return Name(node.id, column)
    if isinstance(node, ast.Attribute):
        return Name(_dotted(node, shift), column)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        operand = _read(node.operand, shift)
        return Negative(operand) if isinstance(node.op, ast.USub) else operand
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        operator = _ARITHMETIC[type(node.op)]
        return Arithmetic(operator, _read(node.left, shift), _read(node.right, shift), column)
    if isinstance(node, ast.Call):
        return _apply(node, shift)
    if isinstance(node, ast.Compare):
        raise ExpressionError("comparisons stand only in where(a > b, x, y)", column)
    raise ExpressionError(
        f"{_form(node)} can't stand in an expression",
        column,
        "allowed: names, ports, numbers, + - * /, and " + ", ".join(sorted(_FUNCTIONS)),
    )


def _number(node: ast.Constant, column: int) -> int | float:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ExpressionError(f"expected a number or a name, got {value!r}"[:120], column)
    if not math.isfinite(value) or abs(value) > 1e30:
        raise ExpressionError("numbers must be finite and below 1e30", column)
    return value


def _dotted(node: ast.Attribute, shift: int) -> str:
    parts = [node.attr]
    inner = node.value
    while isinstance(inner, ast.Attribute):
        parts.append(inner.attr)
        inner = inner.value
    if not isinstance(inner, ast.Name):
        raise ExpressionError("only a name has ports", node.col_offset + shift)
    return ".".join([inner.id, *reversed(parts)])


def _apply(node: ast.Call, shift: int) -> Apply:
    column = node.col_offset + shift
    if not isinstance(node.func, ast.Name):
        raise ExpressionError("only the functions of the language can be called", column)
    name = node.func.id
    function = _FUNCTIONS.get(name)
    if function is None:
        raise ExpressionError(
            f"no function `{name}`", column, suggestion(name, sorted(_FUNCTIONS), 20)
        )
    if node.keywords:
        raise ExpressionError(f"{name} takes no named arguments", column, function.usage)
    low, high = function.tensors
    tensors, rest = node.args, []
    if function.sizes:
        tensors, rest = node.args[:low], node.args[low:]
    if not low <= len(tensors) <= (high or len(tensors)) or (function.sizes and not rest):
        raise ExpressionError(f"{name} got {len(node.args)} arguments", column, function.usage)
    sizes = _sizes(name, rest, shift, function.usage)
    if name == "where":
        return Apply(
            name,
            (_condition(tensors[0], shift), *(_read(a, shift) for a in tensors[1:])),
            (),
            column,
        )
    return Apply(name, tuple(_read(a, shift) for a in tensors), sizes, column)


def _condition(node: ast.expr, shift: int) -> Compare:
    column = node.col_offset + shift
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARISONS:
        operator = _COMPARISONS[type(node.ops[0])]
        return Compare(operator, _read(node.left, shift), _read(node.comparators[0], shift), column)
    raise ExpressionError("where needs one comparison first: where(a > b, x, y)", column)


def _sizes(name: str, nodes: list[ast.expr], shift: int, usage: str) -> tuple[int, ...]:
    flat = (
        nodes[0].elts
        if name == "reshape" and len(nodes) == 1 and isinstance(nodes[0], ast.List)
        else nodes
    )
    if name == "reshape" and flat is nodes and nodes:
        raise ExpressionError(
            "reshape needs its sizes as a list", nodes[0].col_offset + shift, usage
        )
    if name == "slice" and len(nodes) not in (0, 2):
        raise ExpressionError("slice needs start and stop", nodes[0].col_offset + shift, usage)
    sizes = []
    for node in flat:
        if not isinstance(node, ast.Constant) or type(node.value) is not int or node.value > 10**9:
            raise ExpressionError(
                f"{name} needs plain integers here", node.col_offset + shift, usage
            )
        sizes.append(node.value)
    return tuple(sizes)


def _form(node: ast.expr) -> str:
    return {
        "Lambda": "a lambda",
        "ListComp": "a comprehension",
        "GeneratorExp": "a comprehension",
        "Subscript": "an index",
        "List": "a list",
        "Tuple": "a tuple",
        "Dict": "a dict",
        "JoinedStr": "a text",
        "BoolOp": "and/or",
        "IfExp": "an if",
        "NamedExpr": "an assignment",
        "BinOp": "this operator",
    }.get(type(node).__name__, type(node).__name__)


# ---- shapes -------------------------------------------------------------------------------------


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
        return _FUNCTIONS[term.function].infer(args, term)
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


@dataclass(frozen=True)
class _Function:
    """Number of tensor arguments (high 0: unlimited), its shape, whether sizes follow."""

    tensors: tuple[int, int]
    infer: Callable[[list[Shape], Apply], Shape]
    usage: str
    sizes: bool = False


def _unary(name: str, rule: Callable[[list[Shape], Apply], Shape] = _elementwise) -> _Function:
    return _Function((1, 1), rule, f"{name}(x)")


_FUNCTIONS: Mapping[str, _Function] = {
    **{n: _unary(n) for n in ("sigmoid", "tanh", "relu", "softmax", "log1p", "detach")},
    **{n: _unary(n, _reduce) for n in ("sum", "mean", "max")},
    "dot": _Function((2, 2), _pair, "dot(a, b)"),
    "cos": _Function((2, 2), _pair, "cos(a, b)"),
    "concat": _Function((1, 0), _concat, "concat(a, b, ...)"),
    "stack": _Function((1, 0), _stack, "stack(a, b, ...)"),
    "clip": _Function((3, 3), _clip, "clip(x, low, high)"),
    "where": _Function((3, 3), _where, "where(a > b, x, y)"),
    "slice": _Function((1, 1), _slice, "slice(x, start, stop)", sizes=True),
    "reshape": _Function((1, 1), _reshape, "reshape(x, [N, D])", sizes=True),
}
