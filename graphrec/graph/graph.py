"""Graph and node: immutable, born with their shapes, with views derived from the inputs.

Inputs are the truth; everything else (order, ancestors, the networkx view) is derived from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from graphrec.blocks.base import Block
from graphrec.graph.operations import Arrangement, Group, Lookup, Operation, Ref, Side, Table
from graphrec.graph.topology import stable_order
from graphrec.ground.errors import Span
from graphrec.ground.shapes import Shape

if TYPE_CHECKING:
    import networkx

__all__ = ["Graph", "KernelChoice", "Node", "Output", "Vectors", "topological"]


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
class Node:
    """One use of a block, an expression, or a feature group.

    `role` tells what it is for: group, block, expression, head, relation, loss. `origin` is the
    node of the recipe it was expanded from (a composite, a copy of `each`), for folding in
    pictures; `parents` are the relation edges among its inputs. A node `for_training` is computed
    in training alone, and so is all that reads it.
    """

    name: str
    op: Operation
    inputs: Mapping[str, Ref | tuple[Ref, ...]]
    outputs: Mapping[str, Shape]
    role: Literal["group", "block", "expression", "head", "relation", "loss"] = "block"
    kernel: KernelChoice | None = None
    span: Span | None = None
    origin: str = ""
    parents: tuple[Ref, ...] = ()
    shares: str | None = None
    was: str | None = None
    note: str | None = None
    for_training: bool = False

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
        if isinstance(self.op, Arrangement):
            return self.op.text
        return "group" if isinstance(self.op, Group) else "expression"

    @property
    def is_loss(self) -> bool:
        """Whether the output is a term of the loss: nothing reads it."""
        return self.role == "loss" or (isinstance(self.op, Block) and self.op.is_loss)

    @property
    def shape(self) -> Shape:
        """The single output's shape."""
        (shape,) = self.outputs.values()
        return shape


@dataclass(frozen=True)
class Output:
    """What a task reads: the node that gives its logits (or probability) and how it is predicted.

    `form`: `binary` (logits, probs), `softmax` (logits, probs, probs1 with two classes),
    `regression` (y), `lognormal` (logits of its three numbers, y) or `prob` (probs). `suffix` ends
    the keys of its predictions; a task that is `for_training` alone is not there in inference.
    """

    task: str
    ref: Ref
    form: Literal["binary", "softmax", "regression", "lognormal", "prob"]
    classes: int = 1
    span: Span | None = None
    suffix: str = ""
    for_training: bool = False


@dataclass(frozen=True)
class Vectors:
    """Of a model for retrieval: the outputs that meet in an inner product.

    `query` [B, D], or [B, K, D] for several interests, is of rows of the data; `item` [B, D] of
    rows of the file of items. With `cosine` both are divided by their length.
    """

    query: Ref
    item: Ref
    cosine: bool = False


@dataclass(frozen=True)
class Graph:
    """A whole model: nodes in topological order, the tables they read, and the tasks' outputs.

    `exports` are further outputs that the module returns, under their own names. `table_kernels`
    are those of `embeddings` and `first_order`, once chosen. For inference on a model of two sides,
    `sides` says which outputs are the same for all candidates of a request, and `scoring` is the
    graph rewritten to compute these once.
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
    scoring: Graph | None = None
    vectors: Vectors | None = None

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
        sides = {
            self.sides[ref] for port in node.outputs if (ref := Ref(node.name, port)) in self.sides
        }
        return None if not sides else sides.pop() if len(sides) == 1 else "both"

    def with_nodes(self, nodes: Iterable[Node]) -> Graph:
        """The same graph with other nodes, put in order."""
        return replace(self, nodes=topological(nodes))

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
        """Names in topological order: as the recipe has them, but for what would come too late."""
        return tuple(node.name for node in self.nodes)

    @cached_property
    def read(self) -> frozenset[Ref]:
        """Every output that a node, a task or an export reads."""
        inside = (ref for node in self.nodes for _, ref in node.refs())
        return frozenset([*inside, *(output.ref for output in self.outputs), *self.exports])

    @cached_property
    def trained(self) -> frozenset[str]:
        """Names of the nodes that are for training, and of all that read them."""
        trained: set[str] = set()
        for node in self.nodes:
            if node.for_training or any(ref.node in trained for _, ref in node.refs()):
                trained.add(node.name)
        return frozenset(trained)

    @cached_property
    def training_only(self) -> frozenset[str]:
        """Names of the nodes that evaluation does without: `trained` and what only they need."""
        if not self.trained:
            return frozenset()
        ends = [Ref(n.name) for n in self.nodes if n.is_loss and n.name not in self.trained]
        ends += [o.ref for o in self.outputs if o.ref.node not in self.trained]
        return frozenset(self.by_name) - self.behind([*ends, *self.exports])

    def needed(self) -> set[str]:
        """Names of the nodes that some output or loss depends on."""
        ends = [output.ref for output in self.outputs]
        ends += [Ref(node.name) for node in self.nodes if node.is_loss]
        ends += self.exports
        ends += [self.vectors.query, self.vectors.item] if self.vectors else []
        return self.behind(ends)

    def behind(self, ends: Iterable[Ref]) -> set[str]:
        """Names of the nodes that these outputs depend on, their own included."""
        needed: set[str] = set()
        waiting = [ref.node for ref in ends]
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                node = self.by_name[name]
                waiting.extend(ref.node for _, ref in node.refs())
                waiting.extend([node.shares] if node.shares else [])
        return needed


def topological(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes in their given order, except that what a node reads stands before it."""
    by_name = {node.name: node for node in nodes}
    reads = {name: [ref.node for _, ref in node.refs()] for name, node in by_name.items()}
    stacks = {n.name: n.kernel.stack for n in by_name.values() if n.kernel and n.kernel.stack}
    return tuple(by_name[name] for name in stable_order(reads, stacks))
