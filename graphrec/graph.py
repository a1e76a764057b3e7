"""The intermediate representation: immutable nodes born with their shapes, and views of them.

Inputs are the truth; everything else (order, ancestors, the networkx view) is derived from them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from graphrec.blocks.base import Block
from graphrec.errors import Span
from graphrec.shapes import Shape

if TYPE_CHECKING:
    import networkx

    from graphrec.recipe.expressions import Expression

__all__ = [
    "Graph",
    "Group",
    "KernelChoice",
    "Lookup",
    "Node",
    "Output",
    "Ref",
    "Side",
    "Table",
    "find_cycle",
    "topological",
]

Side = Literal["request", "candidates", "both"]
"""One row for a request, one row for each candidate, or columns of both kinds side by side."""


@dataclass(frozen=True, order=True)
class Ref:
    """One output of one node, written `mmoe.ctr`; port `""` is the only output of a plain node."""

    node: str
    port: str = ""

    def __str__(self) -> str:
        return f"{self.node}.{self.port}" if self.port else self.node


@dataclass(frozen=True)
class KernelChoice:
    """Which kernel was asked for, which one runs on the target, and why.

    `named` is the kernel that generated code names: the one asked for, or what `auto` is by
    kernels.lock; the layer behind it runs torch where it must. `local`: the reason is something of
    this machine (a package), which generated code never tells; it tells what was `measured`.
    `stack` are the nodes, by name, that are computed together with this one, itself among them.
    """

    asked: str = "auto"
    chosen: str = "torch"
    why: str = ""
    named: str = ""
    local: bool = False
    measured: str = ""
    stack: tuple[str, ...] = ()

    def __str__(self) -> str:
        reason = f": {self.why}" if self.why else ""
        return (
            f"{self.asked} -> {self.chosen}{reason}" if self.asked != self.chosen else self.chosen
        )

    @property
    def layer(self) -> str:
        """The kernel whose layer generated code names."""
        return self.named or ("torch" if self.asked == "auto" else self.asked)

    @property
    def comment(self) -> str:
        """What generated code says of it: equal on all machines, nothing for plain torch."""
        if self.asked == "torch" or (self.asked == "auto" and self.layer in ("torch", "auto")):
            return ""
        if self.asked == "auto":
            return f"auto -> {self.layer}: {self.measured}"
        return self.layer if self.local else str(self)


@dataclass(frozen=True)
class Table:
    """An embedding table: `rows` includes the row for unseen values; None until fitted to data."""

    name: str
    rows: int | None
    dim: int
    init: str = "normal(0.01)"
    trainable: bool = True
    dtype: str = "fp32"


@dataclass(frozen=True)
class Lookup:
    """A column of the batch and how it becomes a vector.

    `kind`: `id` (looked up in `table`; pooled if `pool`), `sequence` (looked up step by step),
    `dense` (raw numbers), `scaled` (number x learned vector) or `autodis`. `side` is `request`
    where all candidates of a request have one value of it, else `candidates`.
    """

    column: str
    kind: Literal["id", "sequence", "dense", "dense_sequence", "scaled", "autodis"]
    dim: int
    table: str | None = None
    pool: str | None = None
    width: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    side: Side = "candidates"


@dataclass(frozen=True)
class Group:
    """What a source node offers: the columns of a feature group, or a query paired with a sequence.

    `features` are the columns of a feature group in their order. For a paired group or a plain
    sequence, `query` are the target's columns and `keys` the sequence's, pair by pair.
    """

    features: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    sequence: str | None = None
    regularize: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Node:
    """One use of a block, an expression, or a feature group.

    `role` tells what it is for: group, block, expression, head, relation. `origin` is the node of
    the recipe it was expanded from (a composite, a copy of `each`), for folding in pictures;
    `parents` are the relation edges among its inputs.
    """

    name: str
    op: Block | Expression | Group
    inputs: Mapping[str, Ref | tuple[Ref, ...]]
    outputs: Mapping[str, Shape]
    role: Literal["group", "block", "expression", "head", "relation"] = "block"
    kernel: KernelChoice | None = None
    span: Span | None = None
    origin: str = ""
    parents: tuple[Ref, ...] = ()
    shares: str | None = None
    was: str | None = None
    note: str | None = None

    def refs(self) -> Iterator[tuple[str, Ref]]:
        """Every (port, reference) the node reads, in port order."""
        for port, value in self.inputs.items():
            for ref in value if isinstance(value, tuple) else (value,):
                yield port, ref

    @property
    def label(self) -> str:
        """What the node is, for people: the block's name, `expression` or `group`."""
        if isinstance(self.op, Block):
            return self.op.block_name
        return "group" if isinstance(self.op, Group) else "expression"

    @property
    def is_loss(self) -> bool:
        """Whether the output is a term of the loss: nothing reads it."""
        return isinstance(self.op, Block) and self.op.is_loss

    @property
    def shape(self) -> Shape:
        """The single output's shape."""
        (shape,) = self.outputs.values()
        return shape


@dataclass(frozen=True)
class Output:
    """What a task reads: the node that gives its logits (or probability) and how it is predicted.

    `form`: `binary` (logits, probs), `softmax` (logits, probs, probs1 with two classes),
    `regression` (y) or `prob` (probs).
    """

    task: str
    ref: Ref
    form: Literal["binary", "softmax", "regression", "prob"]
    classes: int = 1
    span: Span | None = None


@dataclass(frozen=True)
class Graph:
    """A whole model: nodes in topological order, the tables they read, and the tasks' outputs.

    `exports` are further outputs that the module returns, under their own names. `table_kernels`
    are those of `embeddings` and `first_order`, once chosen. `sides` says, for inference on a model
    of two sides, which outputs are the same for all candidates of a request.
    """

    name: str
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]
    exports: tuple[Ref, ...] = ()
    tables: tuple[Table, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    first_order: tuple[Lookup, ...] = ()
    first_order_tables: tuple[Table, ...] = ()
    table_kernels: Mapping[str, KernelChoice] = field(default_factory=dict)
    title: str = ""
    description: str = ""
    seed: int = 0
    sides: Mapping[Ref, Side] = field(default_factory=dict)

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        return {node.name: node for node in self.nodes}

    def __getitem__(self, name: str) -> Node:
        return self.by_name[name]

    def shape(self, ref: Ref) -> Shape:
        """Shape of one output."""
        return self.by_name[ref.node].outputs[ref.port]

    def side(self, node: Node) -> Side | None:
        """For inference, the side of all outputs of a node; None where sides are not settled."""
        found = {
            self.sides[ref] for port in node.outputs if (ref := Ref(node.name, port)) in self.sides
        }
        return None if not found else found.pop() if len(found) == 1 else "both"

    def with_nodes(self, nodes: Iterable[Node]) -> Graph:
        """The same graph with other nodes, put in order."""
        return replace(self, nodes=topological(tuple(nodes)))

    @cached_property
    def dag(self) -> networkx.MultiDiGraph:
        """The graph as networkx: nodes carry `node`, edges carry `port`, `ref` and `relation`."""
        import networkx

        view = networkx.MultiDiGraph(name=self.name)
        for node in self.nodes:
            view.add_node(node.name, node=node)
        for node in self.nodes:
            for port, ref in node.refs():
                view.add_edge(ref.node, node.name, port=port, ref=ref, relation=ref in node.parents)
        return view

    def order(self) -> tuple[str, ...]:
        """Names in lexicographic topological order."""
        return tuple(node.name for node in self.nodes)

    def needed(self) -> set[str]:
        """Names of the nodes that some output or loss depends on."""
        found: set[str] = set()
        waiting = [output.ref.node for output in self.outputs]
        waiting.extend(node.name for node in self.nodes if node.is_loss)
        waiting += [ref.node for ref in self.exports]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                node = self.by_name[name]
                waiting.extend(ref.node for _, ref in node.refs())
                waiting.extend([node.shares] if node.shares else [])
        return found


def topological(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """The nodes in lexicographic topological order; ties and independents go by name.

    The inputs must form no cycle (see `find_cycle`).
    """
    by_name = {node.name: node for node in nodes}
    waiting = {node.name: {ref.node for _, ref in node.refs()} & by_name.keys() for node in nodes}
    # A stack is computed at once: all its members wait for the inputs of all.
    stacks = {node.kernel.stack for node in nodes if node.kernel and node.kernel.stack}
    for stack in stacks:
        members = [name for name in stack if name in by_name]
        sources = {source for name in members for source in waiting[name]}
        waiting.update((name, set(sources)) for name in members)
    readers: dict[str, list[str]] = {name: [] for name in by_name}
    for name, sources in waiting.items():
        for source in sources:
            readers[source].append(name)
    ready = [name for name, sources in waiting.items() if not sources]
    heapq.heapify(ready)
    ordered = []
    while ready:
        name = heapq.heappop(ready)
        ordered.append(by_name[name])
        for reader in readers[name]:
            waiting[reader].discard(name)
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    assert len(ordered) == len(nodes), "cycles are reported before nodes are ordered"
    return tuple(ordered)


def find_cycle(edges: Mapping[str, Iterable[str]]) -> list[str] | None:
    """A cycle in `name -> names it reads`, in reading order without the repeat, or None."""
    left = {name: set(sources) & edges.keys() for name, sources in edges.items()}
    while done := {name for name, sources in left.items() if not sources}:
        left = {name: sources - done for name, sources in left.items() if name not in done}
    if not left:
        return None  # nearly always: networkx takes longer to import than a recipe to check
    import networkx

    view = networkx.DiGraph()
    for name in sorted(edges):
        view.add_node(name)
        for source in sorted(set(edges[name])):
            view.add_edge(name, source)
    try:
        return [source for source, _ in networkx.find_cycle(view)]
    except networkx.NetworkXNoCycle:
        return None
