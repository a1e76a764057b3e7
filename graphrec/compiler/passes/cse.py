"""Common subexpression elimination: equal things are computed once.

Composites and `each` repeat what their author wrote once (a projection of the same group in every
tower); written by hand one would have given it a name. Merging is by name of the node, not by its
place, so that the order of a recipe changes no weight.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

from graphrec.blocks.base import Block
from graphrec.compiler.target import Target
from graphrec.graph import Graph, Group, Node, Ref
from graphrec.recipe.expressions import Apply, Arithmetic, Compare, Expression, Name, Negative, Term

__all__ = ["cse"]


def cse(graph: Graph, target: Target) -> Graph:
    """Compute nodes of equal operation and equal inputs once, under the first of their names.

    Layers with weights are equal only where they share them, and not where dropout or batch
    statistics make each application of its own (in training). What a recipe exports keeps its name.
    """
    owners = {node.shares for node in graph.nodes if node.shares}
    kept: dict[str, str] = {}
    reads = _equal_reads(graph)

    def moved(ref: Ref) -> Ref:
        return reads.get(ref) or Ref(kept[ref.node], ref.port)

    families: dict[Hashable, list[str]] = {}
    for node in graph.nodes:
        key = _key(node, moved, target)
        # What evaluation does without must not be the one that it reads.
        late = node.name in graph.trained
        family = families.setdefault((late, key), []) if key is not None else []
        family.append(node.name)
        # for now the first, so that readers further on compare equal; which one stays comes below
        kept[node.name] = family[0]
    for family in families.values():
        # the owner of shared weights has to stay: their keys in checkpoints bear its name
        weights = [name for name in family if name in owners]
        chosen = min(weights or family)
        kept.update(dict.fromkeys(family, chosen))
    return _rebuilt(graph, kept, moved)


def _equal_reads(graph: Graph) -> dict[Ref, Ref]:
    """Ports of groups that read what a port of another group reads -> the one that stays.

    Two histories paired with the same target are two groups, but their query is one.
    """
    families: dict[Hashable, list[Ref]] = {}
    for node in graph.nodes:
        for port in node.outputs:
            key = _read_key(node.op, port) if isinstance(node.op, Group) else None
            if key is not None:
                family = families.setdefault((node.name in graph.trained, key), [])
                family.append(Ref(node.name, port))
    chosen = {}
    for family in families.values():
        # a group's own vector has the plainest name
        first = min(family, key=lambda ref: (ref.port != "", ref.node))
        chosen.update(dict.fromkeys(family, first))
    return chosen


def _read_key(group: Group, port: str) -> Hashable | None:
    """What equal ports of groups have in common; None where the whole groups have to be equal."""
    if group.regularize:
        return None
    if port in ("keys", "mask", "length") or (port == "" and group.sequence is not None):
        return port or "keys", group.sequence, group.keys
    if port in ("", "query"):
        return "vector", group.query if port == "query" else group.features
    return None


def _rebuilt(graph: Graph, kept: dict[str, str], moved: Callable[[Ref], Ref]) -> Graph:
    """The graph with every reader at the node that is kept, and without those that are not."""
    exported = {ref.node for ref in graph.exports}
    shapes = {moved(Ref(n.name, port)): s for n in graph.nodes for port, s in n.outputs.items()}
    ports: dict[str, set[str]] = {}
    for ref in shapes:
        ports.setdefault(ref.node, set()).add(ref.port)
    nodes = []
    for node in graph.nodes:
        if kept[node.name] != node.name and node.name not in exported:
            continue
        outputs = node.outputs
        if isinstance(node.op, Group):
            own = node.outputs if node.name in exported else {}
            names = ports.get(node.name, set()) | own.keys()
            outputs = {
                port: own.get(port) or shapes[Ref(node.name, port)] for port in sorted(names)
            }
            if not outputs:
                continue
        inputs = {
            port: tuple(map(moved, value)) if isinstance(value, tuple) else moved(value)
            for port, value in node.inputs.items()
        }
        parents = tuple(map(moved, node.parents))
        shares = kept[node.shares] if node.shares else None
        node = replace(node, inputs=inputs, outputs=outputs, parents=parents, shares=shares)
        nodes.append(node)
    ends = tuple(replace(output, ref=moved(output.ref)) for output in graph.outputs)
    vectors = graph.vectors
    if vectors is not None:
        vectors = replace(vectors, query=moved(vectors.query), item=moved(vectors.item))
    return replace(graph, outputs=ends, vectors=vectors).with_nodes(nodes)


def _key(node: Node, moved: Callable[[Ref], Ref], target: Target) -> Hashable | None:
    """What equal nodes have in common; None for a node that equals no other."""
    if isinstance(node.op, Group):
        group = node.op
        if group.regularize:
            return None
        return "group", group.features, group.query, group.keys, group.sequence
    if isinstance(node.op, Expression):
        refs = {name: moved(ref) for name, ref in node.inputs.items() if isinstance(ref, Ref)}
        return "expression", _term(node.op.tree, refs)
    layer = _layer(node, target)
    if layer is None:
        return None
    return layer, tuple((port, moved(ref)) for port, ref in node.refs())


def _layer(node: Node, target: Target) -> Hashable | None:
    """The layer that a block's node applies, if applying it twice gives the same twice."""
    block = node.op
    assert isinstance(block, Block)
    if block.is_pure:
        return type(block), block.model_dump_json()
    if not block.repeats(training=target.purpose == "train"):
        return None
    return "weights", node.shares or node.name


def _term(term: Term, refs: dict[str, Ref]) -> Hashable:
    """The term with nodes in place of names, and without its place in the text."""

    def inside(*terms: Term) -> tuple[Hashable, ...]:
        return tuple(_term(t, refs) for t in terms)

    if isinstance(term, Name):
        return refs[term.ref]
    if isinstance(term, Negative):
        return "-", *inside(term.operand)
    if isinstance(term, Arithmetic | Compare):
        return term.operator, *inside(term.left, term.right)
    if isinstance(term, Apply):
        return term.function, *inside(*term.args), term.sizes
    return term
