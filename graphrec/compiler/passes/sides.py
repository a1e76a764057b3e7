"""One request, many candidates: what depends on the request alone, and what on each candidate.

The analysis behind the candidate split; `candidates` rewrites the graph by it.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphrec.blocks.base import Block
from graphrec.compiler.layer_args import columns_of
from graphrec.graph import Graph, Group, Node, Ref, Side
from graphrec.recipe.expressions import Apply, Expression, Name, Term

__all__ = ["roots", "scored", "side_of_columns", "side_of_term", "sides_of"]


def sides_of(graph: Graph) -> dict[Ref, Side]:
    """The side of every output that the predictions depend on; empty where there is only one.

    A node is of the request if all it reads is: it runs once, on one row. What stands side by side
    (a group of user and item features, a concatenation) is of `both`: a Linear reads it in two
    parts, which saves most where much of a first layer's input is of the request.
    """
    sides: dict[Ref, Side] = {}
    wanted, columns = scored(graph), set[str]()
    for node in graph.nodes:
        if node.name not in wanted:
            continue
        if isinstance(node.op, Group):
            columns.update(node.op.features, node.op.query, node.op.keys)
        for port in node.outputs:
            sides[Ref(node.name, port)] = _side(graph, node, port, sides)
    return sides if side_of_columns(graph, tuple(columns)) == "both" else {}


def roots(graph: Graph) -> tuple[Ref, ...]:
    """The outputs that a score is made of: those of tasks, and exports; no losses."""
    return (*(output.ref for output in graph.outputs), *graph.exports)


def side_of_columns(graph: Graph, columns: tuple[str, ...]) -> Side:
    """The side of several columns side by side."""
    several = {c.side for c in (*graph.lookups, *graph.first_order) if c.column in columns}
    return several.pop() if len(several) == 1 else "both"


def side_of_term(term: Term, sides: Mapping[str, Side]) -> Side:
    """The side of a part of an expression, from those of the references it names."""
    of_names = {sides[name.ref] for name in Expression("", term).names()}
    return "request" if of_names <= {"request"} else "candidates"


def scored(graph: Graph) -> set[str]:
    """Names of the nodes that predictions and exports depend on."""
    needed: set[str] = set()
    waiting = [ref.node for ref in roots(graph)]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting.extend(ref.node for _, ref in graph[name].refs())
    return needed


def _side(graph: Graph, node: Node, port: str, sides: Mapping[Ref, Side]) -> Side:
    if isinstance(node.op, Group):
        return _side_of_group(graph, node, port)
    read = {sides[ref] for _, ref in node.refs()}
    if read <= {"request"}:
        return "request"
    vector = graph.shape(Ref(node.name, port)).rank == 2
    if read != {"candidates"} and vector and _is_concatenation(node):
        return "both"
    return "candidates"


def _side_of_group(graph: Graph, node: Node, port: str) -> Side:
    group = node.op
    assert isinstance(group, Group)
    side = side_of_columns(graph, columns_of(graph, group, port))
    # A sum, fields, and what a layer of the group has changed are one tensor.
    whole = port not in ("", "query", "values") or bool(group.regularize)
    return "candidates" if whole and side == "both" else side


def _is_concatenation(node: Node) -> bool:
    if isinstance(node.op, Expression):
        tree = node.op.tree
        return isinstance(tree, Name) or (isinstance(tree, Apply) and tree.function == "concat")
    return isinstance(node.op, Block) and node.op.is_concat
