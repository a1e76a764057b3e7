"""How a method reads the ports of groups from what was looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphrec.compiler.codegen.state import State
from graphrec.compiler.codegen.writer import Call
from graphrec.compiler.layer_args import columns_of
from graphrec.graph import Graph, Group, Node
from graphrec.ground.shapes import B, Dim, Shape

__all__ = ["Batches", "read_port", "store_of"]

_METHODS = {"": "concat", "fields": "stack", "linear": "sum", "values": "values"}
_PLAIN = ("id", "dense", "scaled", "autodis")
_METHODS |= {"query": "concat", "keys": "sequence", "mask": "sequence", "length": "steps"}


@dataclass
class Batches:
    """Variables with what was looked up, by collection and rows; `whole`: of one batch with all."""

    variables: Mapping[tuple[str, Dim], str] = field(
        default_factory=lambda: {("embeddings", B): "embedded", ("first_order", B): "first"}
    )
    whole: bool = True


def store_of(port: str) -> str:
    """The collection that a port is read from."""
    return "first_order" if port == "linear" else "embeddings"


def read_port(
    state: State, graph: Graph, node: Node, port: str, shape: Shape, batches: Batches
) -> Any:
    """`embedded.concat(["item_id", "price"])`; no names stand for all columns but histories."""
    group = node.op
    assert isinstance(group, Group)
    embedded = batches.variables[store_of(port), shape.dims[0]]
    plain = group.sequence is not None and port == ""
    method = f"{embedded}.{'sequence' if plain else _METHODS[port]}"
    columns = columns_of(graph, group, port)
    if columns == group.keys and group.sequence is not None and port != "query":
        every = tuple(
            sorted(c.column for c in graph.lookups if c.column.startswith(f"{group.sequence}."))
        )
        chosen = [] if columns == every or port == "length" else [list(columns)]
        call = Call(method, [group.sequence, *chosen])
        return state.function("mask", call) if port == "mask" else call
    if batches.whole and columns == _every_column(graph, port):
        return Call(method)
    wish = f"{node.name}_{port}" if port in ("query", "values") else node.name
    return Call(method, [state.columns(columns, wish)])


def _every_column(graph: Graph, port: str) -> tuple[str, ...]:
    """The columns of the collection in the order of `EmbeddingOutputs`: by name, no histories."""
    lookups = graph.first_order if port == "linear" else graph.lookups
    kinds = ("dense", "scaled", "autodis") if port == "values" else _PLAIN
    return tuple(sorted(lookup.column for lookup in lookups if lookup.kind in kinds))
