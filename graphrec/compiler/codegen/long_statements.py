"""Expressions as statements: one line each, or in steps where a line would be too long.

How ruff breaks a long sum of products in brackets hangs on all of it; nobody reads such a statement
gladly either. So its largest part becomes a variable of its own until the rest fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from graphrec.compiler.codegen.state import State
from graphrec.compiler.codegen.terms import render
from graphrec.compiler.codegen.writer import literal
from graphrec.graph import Node, Ref
from graphrec.recipe.expressions import (
    Apply,
    Arithmetic,
    Compare,
    Expression,
    Name,
    Negative,
    Number,
    Term,
)

__all__ = ["write_expression"]


def write_expression(state: State, node: Node, comment: str) -> None:
    """Write the statements of an expression's node."""
    assert isinstance(node.op, Expression)
    names = {w: state.variable(ref) for w, ref in node.inputs.items() if isinstance(ref, Ref)}
    _Steps(state, node, names).write(state.variable(Ref(node.name)), node.op.tree, comment)


class _Steps:
    """The variables of one expression: those that it names, and those of its steps."""

    def __init__(self, state: State, node: Node, names: dict[str, str]) -> None:
        self.state = state
        self.node = node
        self.names = names
        self.count = 0

    def write(self, target: str, tree: Term, comment: str = "") -> None:
        value = render(tree, self.names)
        while not self.state.fits(target, value, comment):
            part = max(_parts(tree), key=self._length, default=None)
            if part is None:
                break
            self.count += 1
            step = f"{self.node.name}.step{self.count}"
            self.names[step] = self.state.locals.take(step)
            self.write(self.names[step], part)
            tree = _with_name(tree, part, Name(step))
            value = render(tree, self.names)
        self.state.statement(target, value, comment, self.node.name)

    def _length(self, term: Term) -> int:
        return len(literal(render(term, self.names)))


def _children(term: Term) -> Iterator[Term]:
    if isinstance(term, Arithmetic | Compare):
        yield from (term.left, term.right)
    elif isinstance(term, Apply):
        yield from term.args
    elif isinstance(term, Negative):
        yield term.operand


def _parts(term: Term) -> Iterator[Term]:
    """What can become a variable: a comparison can't, its sides can."""
    for child in _children(term):
        if isinstance(child, Compare):
            yield from _parts(child)
        elif not isinstance(child, Name | Number):
            yield child


def _with_name(term: Term, part: Term, name: Name) -> Term:
    """The term with a name in the place of a part."""

    def inside(child: Term) -> Term:
        if child is part:
            return name
        return _with_name(child, part, name) if isinstance(child, Compare) else child

    if isinstance(term, Arithmetic | Compare):
        return replace(term, left=inside(term.left), right=inside(term.right))
    if isinstance(term, Apply):
        return replace(term, args=tuple(inside(arg) for arg in term.args))
    assert isinstance(term, Negative)
    return replace(term, operand=inside(term.operand))
