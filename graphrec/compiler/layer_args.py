"""What a node's layer is made from and called with: constructor arguments and shapes, as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphrec.blocks.base import Block
from graphrec.graph import Graph, Node, Ref
from graphrec.shapes import Shape

__all__ = ["layer_args", "layer_inputs"]


def layer_args(graph: Graph, node: Node) -> dict[str, Any]:
    """Constructor arguments of a node's layer, from its block and the shapes it reads."""
    assert isinstance(node.op, Block)
    shapes: dict[str, Shape | tuple[Shape, ...]] = {}
    variadic = {port.name for port in node.op.ports() if port.variadic}
    for port, value in node.inputs.items():
        if isinstance(value, Ref):
            shapes[port] = graph.shape(value)
        else:
            each = tuple(graph.shape(ref) for ref in value)
            shapes[port] = each if port in variadic else _side_by_side(each)
    positional, named = node.op.spread(shapes)
    args = node.op.args(*positional, **named)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in args.items()}


def layer_inputs(graph: Graph, node: Node) -> tuple[Shape, ...]:
    """Shapes of the tensors that the layer is called with, in their order.

    A mask is none of them: a history travels with its lengths.
    """
    return tuple(_inputs(graph, node))


def _inputs(graph: Graph, node: Node) -> Iterator[Shape]:
    assert isinstance(node.op, Block)
    for port in node.op.ports():
        value = node.inputs.get(port.name)
        if isinstance(value, Ref):
            shape = graph.shape(value)
            if shape.dtype != "bool":
                yield shape
        elif value is not None:
            each = tuple(graph.shape(ref) for ref in value)
            yield from each if port.variadic else (_side_by_side(each),)


def _side_by_side(shapes: tuple[Shape, ...]) -> Shape:
    return shapes[0].resize(sum(shape.width for shape in shapes))
