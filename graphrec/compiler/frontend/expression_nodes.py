"""Nodes made of expressions: those of the recipe, and the sums and joins that modifiers need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graphrec.compiler.frontend.context import Context, Failed, Place, Value
from graphrec.compiler.frontend.scope import Scope
from graphrec.graph import Node, Ref
from graphrec.ground.errors import Problem
from graphrec.recipe import expressions
from graphrec.recipe.expressions import ExpressionError, parse_expression

__all__ = ["ExpressionBuilder"]


MAX_NODES = 10_000
"""Nodes of a graph, copies included; the largest models known have hundreds."""


class ExpressionBuilder:
    """Adds expression nodes to a graph under construction."""

    def __init__(self, context: Context, nodes: dict[str, Node]) -> None:
        self.context = context
        self.nodes = nodes

    def expression(self, name: str, text: str, scope: Scope, place: Place) -> Ref:
        """Add a node for an expression of the recipe."""
        try:
            parsed = parse_expression(text)
        except ExpressionError as error:
            raise self._misread(error, place) from None
        values: dict[str, Value | None] = {}
        failed = False
        for used in parsed.names():
            span = self.context.within(place.path, used.column, len(used.ref))
            try:
                value = scope.resolve(used.ref, place.path, span)
                values[used.ref] = scope.one(value, used.ref, place.path, place.keys, span)
            except Failed:
                failed = True
        if failed:
            raise Failed
        return self.express(name, text, values, scope, replace(place, role="expression"))

    def express(
        self, name: str, text: str, values: Mapping[str, Value | None], scope: Scope, place: Place
    ) -> Ref:
        parsed = parse_expression(text)
        refs = {key: value for key, value in values.items() if isinstance(value, Ref)}
        try:
            shape = expressions.infer(
                parsed.tree, {key: scope.shape(ref) for key, ref in refs.items()}
            )
        except ExpressionError as error:
            raise self._misread(error, place) from None
        if shape.rank == 0:
            raise self.context.fail(
                "GR505", place.path, "is a plain number: an expression must read a node"
            )
        span = self.context.key(place.path)
        self.add_node(
            Node(name, parsed, refs, {"": shape}, role=place.role, span=span, origin=place.origin),
            place,
        )
        return Ref(name)

    def _misread(self, error: ExpressionError, place: Place) -> Failed:
        span = self.context.within(place.path, error.column, 1)
        self.context.problems.append(Problem(error.code, str(error), span, place.path, error.help))
        return Failed()

    def join(self, name: str, how: str, refs: list[Ref], scope: Scope, place: Place) -> Ref:
        parts = [str(ref) for ref in refs]
        text = f"{how}({', '.join(parts)})" if how in ("concat", "stack") else " + ".join(parts)
        if how == "mean":
            text = f"({text}) / {len(parts)}"
        values: dict[str, Value | None] = dict(zip(parts, refs, strict=True))
        return self.express(name, text, values, scope, replace(place, role="expression"))

    def add_node(self, node: Node, place: Place) -> None:
        if node.name in self.nodes:
            raise self.context.fail(
                "GR307", place.path, f"two nodes are called `{node.name}`", "rename one of them"
            )
        if len(self.nodes) >= MAX_NODES:
            raise self.context.fail(
                "GR407",
                place.path,
                f"the graph grows beyond {MAX_NODES:,} nodes here",
                "make `repeat`, `parallel`, `each` or the number of layers smaller",
                self.context.key(place.path),
            )
        self.nodes[node.name] = node
