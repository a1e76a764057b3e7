"""The expression language of string nodes: Python syntax, an allow-list, nothing evaluated.

`all.linear + sum(fm) + deep` is read with `ast` into a small tree of terms; `infer` gives its shape
from the shapes of what it names, and `lower.py` prints it as it stands.
"""

from __future__ import annotations

import ast
import math
import re

from graphrec.ground.errors import suggestion
from graphrec.recipe.expression_shapes import FUNCTIONS, infer
from graphrec.recipe.terms import (
    Apply,
    Arithmetic,
    Compare,
    Expression,
    ExpressionError,
    Name,
    Negative,
    Number,
    Term,
)

__all__ = [
    "Apply",
    "Arithmetic",
    "Compare",
    "Expression",
    "ExpressionError",
    "Name",
    "Negative",
    "Number",
    "Term",
    "infer",
    "parse_expression",
]

_LIMIT = 2000
_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_OTHER_NAMES = {"stop": "detach"}
_COMPARISONS = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<="}


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
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Pow, ast.BitXor)):
        return _power(node, shift)
    if isinstance(node, ast.Call):
        return _apply(node, shift)
    if isinstance(node, ast.Compare):
        raise ExpressionError("comparisons stand only in where(a > b, x, y)", column)
    raise ExpressionError(
        f"{_form(node)} can't stand in an expression",
        column,
        "allowed: names, ports, numbers, + - * /, and " + ", ".join(sorted(FUNCTIONS)),
    )


def _power(node: ast.BinOp, shift: int) -> Apply:
    column = node.col_offset + shift
    if isinstance(node.op, ast.BitXor):
        # Python binds it weaker than a sum: a^2 + b would be a^(2 + b).
        raise ExpressionError("`^` is no power", column, "write a ** 2")
    exponent = node.right.value if isinstance(node.right, ast.Constant) else None
    if type(exponent) is not int or not 2 <= exponent <= 8:
        raise ExpressionError("a power is a whole number from 2 to 8", column, "write a ** 2")
    return Apply("power", (_read(node.left, shift),), (exponent,), column)


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
    name = _OTHER_NAMES.get(node.func.id, node.func.id)
    function = FUNCTIONS.get(name)
    if function is None:
        raise ExpressionError(
            f"no function `{name}`", column, suggestion(name, sorted(FUNCTIONS), 20)
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
