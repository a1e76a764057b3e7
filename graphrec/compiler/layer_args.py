"""What a node reads, and what its layer is made from and called with, as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphrec.blocks.base import Block
from graphrec.graph import Graph, Group, Node, Ref
from graphrec.ground.shapes import Shape

__all__ = ["columns_of", "input_shapes", "is_mask", "layer", "layer_args", "layer_inputs"]

_NUMBERS = ("dense", "scaled", "autodis")


def layer(node: Node) -> tuple[str, str]:
    """Module and class of the layer for the kernel named; the op behind it goes by the device."""
    assert isinstance(node.op, Block)
    named = node.kernel.layer if node.kernel else "torch"
    kernel = node.op.kernel(named) or node.op.kernel("torch")
    assert kernel is not None
    module, _, name = kernel.layer.partition(":")
    return module, name


def columns_of(graph: Graph, group: Group, port: str) -> tuple[str, ...]:
    """The columns that a port of a group reads, in their order."""
    if port == "query":
        return group.query
    if port in ("keys", "mask", "length") or group.sequence is not None:
        return group.keys
    if port == "values":
        kinds = {lookup.column: lookup.kind for lookup in (*graph.first_order, *graph.lookups)}
        return tuple(column for column in group.features if kinds[column] in _NUMBERS)
    return group.features


def is_mask(graph: Graph, value: Ref | tuple[Ref, ...]) -> bool:
    """A history carries its own mask: the port of one is for the compiler's check only."""
    return isinstance(value, Ref) and graph.shape(value).dtype == "bool"


def layer_args(graph: Graph, node: Node) -> dict[str, Any]:
    """Constructor arguments of a node's layer, from its block and the shapes it reads."""
    assert isinstance(node.op, Block)
    positional, named = node.op.spread(input_shapes(graph, node))
    args = node.op.args(*positional, **named)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in args.items()}


def input_shapes(graph: Graph, node: Node) -> dict[str, Shape | tuple[Shape, ...]]:
    """What each port reads; several references at one that is not variadic are side by side."""
    assert isinstance(node.op, Block)
    shapes: dict[str, Shape | tuple[Shape, ...]] = {}
    variadic = {port.name for port in node.op.ports() if port.variadic}
    for port, value in node.inputs.items():
        if isinstance(value, Ref):
            shapes[port] = graph.shape(value)
        else:
            each = tuple(graph.shape(ref) for ref in value)
            shapes[port] = each if port in variadic else _side_by_side(each)
    return shapes


def layer_inputs(graph: Graph, node: Node) -> tuple[Shape, ...]:
    """Shapes of the tensors that the layer is called with, in their order.

    A mask is none of them: a history travels with its lengths.
    """
    return tuple(_inputs(graph, node))


def _inputs(graph: Graph, node: Node) -> Iterator[Shape]:
    assert isinstance(node.op, Block)
    for port in node.op.ports():
        value = node.inputs.get(port.name)
        if value is None or is_mask(graph, value):
            continue
        if isinstance(value, Ref):
            yield graph.shape(value)
        else:
            each = tuple(graph.shape(ref) for ref in value)
            yield from each if port.variadic else (_side_by_side(each),)


def _side_by_side(shapes: tuple[Shape, ...]) -> Shape:
    return shapes[0].resize(sum(shape.width for shape in shapes))
