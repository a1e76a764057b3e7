"""Expressions as Python code, with as few parentheses as their meaning needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphrec.compiler.codegen.writer import Call, Chain, Raw, literal
from graphrec.recipe.expressions import Apply, Arithmetic, Compare, Name, Negative, Number, Term

__all__ = ["FUNCTIONS", "render"]

FUNCTIONS = "fn"
"""What generated code calls `graphrec.nn.functions`; `F` is torch's functional everywhere."""

_TIGHT = {"+": 1, "-": 1, "*": 2, "/": 2}


def render(term: Term, names: Mapping[str, str]) -> Any:
    """The term as a value to write; references become the variables of `names`."""
    if isinstance(term, Name):
        return Raw(names[term.ref])
    if isinstance(term, Number):
        return Raw(repr(term.value))
    if isinstance(term, Negative):
        return Raw(f"-{_operand(term.operand, names, 3)}")
    if isinstance(term, Compare):
        return Chain((render(term.left, names), render(term.right, names)), (term.operator,))
    if isinstance(term, Arithmetic):
        return _chain(term, names)
    return _call(term, names)


def _chain(term: Arithmetic, names: Mapping[str, str]) -> Chain:
    """Operators of one rank side by side: `a - b + c`."""
    tight = _TIGHT[term.operator]
    inner = term.left
    if isinstance(inner, Arithmetic) and _TIGHT[inner.operator] == tight:
        first = _chain(inner, names)
    else:
        first = Chain((_value(inner, names, tight),))
    # a - (b - c): the right side keeps its own parentheses
    right = _value(term.right, names, tight + 1)
    return Chain((*first.operands, right), (*first.operators, term.operator))


def _value(term: Term, names: Mapping[str, str], level: int) -> Any:
    value = render(term, names)
    loose = isinstance(term, Arithmetic) and _TIGHT[term.operator] < level
    return Raw(f"({literal(value)})") if loose else value


def _operand(term: Term, names: Mapping[str, str], level: int) -> str:
    return literal(_value(term, names, level))


def _call(term: Apply, names: Mapping[str, str]) -> Call:
    args = [render(arg, names) for arg in term.args]
    sizes = [list(term.sizes)] if term.function == "reshape" else list(term.sizes)
    return Call(f"{FUNCTIONS}.{term.function}", [*args, *(Raw(repr(size)) for size in sizes)])
