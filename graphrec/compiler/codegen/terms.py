"""Expressions as Python text, with as few parentheses as their meaning needs."""

from __future__ import annotations

from collections.abc import Mapping

from graphrec.recipe.expressions import Apply, Arithmetic, Compare, Name, Negative, Number, Term

__all__ = ["render"]

_TIGHT = {"+": 1, "-": 1, "*": 2, "/": 2}


def render(term: Term, names: Mapping[str, str]) -> str:
    """The term as code; references become the variables of `names`, functions `F.<name>`."""
    return _render(term, names, 0)


def _render(term: Term, names: Mapping[str, str], level: int) -> str:
    if isinstance(term, Name):
        return names[term.ref]
    if isinstance(term, Number):
        return repr(term.value)
    if isinstance(term, Negative):
        return f"-{_render(term.operand, names, 3)}"
    if isinstance(term, Compare):
        return f"{_render(term.left, names, 0)} {term.operator} {_render(term.right, names, 0)}"
    if isinstance(term, Arithmetic):
        tight = _TIGHT[term.operator]
        left = _render(term.left, names, tight)
        # a - (b - c): the right side keeps its own parentheses
        text = f"{left} {term.operator} {_render(term.right, names, tight + 1)}"
        return f"({text})" if tight < level else text
    return _apply(term, names)


def _apply(term: Apply, names: Mapping[str, str]) -> str:
    args = [_render(arg, names, 0) for arg in term.args]
    if term.function == "reshape":
        args.append(f"[{', '.join(map(str, term.sizes))}]")
    else:
        args.extend(map(str, term.sizes))
    return f"F.{term.function}({', '.join(args)})"
