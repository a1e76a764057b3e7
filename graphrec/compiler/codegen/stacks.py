"""Nodes that are computed together: one statement for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphrec.blocks.base import Block
from graphrec.compiler.codegen.state import State, place
from graphrec.compiler.codegen.writer import Call, Raw, literal
from graphrec.graph import Graph, Node, Ref

__all__ = ["is_follower", "reserve", "stack", "stack_places"]


def is_follower(node: Node) -> bool:
    """Whether the statement of a node before this one computes it too."""
    return node.kernel is not None and bool(node.kernel.stack) and node.kernel.stack[0] != node.name


def reserve(state: State, graph: Graph) -> None:
    """Import what computes stacks, under names that no variable takes."""
    for node in graph.nodes:
        if node.kernel is not None and node.kernel.stack:
            state.locals.reserve(_function(state, node))


def stack(
    state: State, graph: Graph, node: Node, arguments: Mapping[str, list[Any]], comment: str
) -> None:
    """`a, b = stacked([self.a, self.b], [x, y])`; what all of them read stands there once."""
    assert node.kernel is not None
    members = [graph[name] for name in node.kernel.stack]
    layers = [Raw(f"self.{state.attributes.take(m.shares or m.name)}") for m in members]
    columns = zip(*(arguments[member.name] for member in members), strict=True)
    inputs = [
        column[0] if len({literal(value) for value in column}) == 1 else list(column)
        for column in columns
    ]
    targets = ", ".join(state.variable(Ref(member.name)) for member in members)
    call = Call(_function(state, node), [layers, *inputs])
    state.statement(targets, call, f"{comment} each", _owner(members))


def stack_places(graph: Graph) -> dict[str, str]:
    """Owner of a stack's statement -> where the recipe says so."""
    owners = {}
    for node in graph.nodes:
        if node.kernel is not None and node.kernel.stack and not is_follower(node):
            members = [graph[name] for name in node.kernel.stack]
            places = dict.fromkeys(place(member.span, graph.title) for member in members)
            owners[_owner(members)] = ", ".join(places)
    return owners


def _function(state: State, node: Node) -> str:
    assert node.kernel is not None and isinstance(node.op, Block)
    kernel = node.op.kernel(node.kernel.layer)
    assert kernel is not None
    module, _, name = kernel.together.partition(":")
    return state.use(name, module)


def _owner(members: list[Node]) -> str:
    return ", ".join(member.name for member in members)
