"""What the parts of lowering share: names in use, the text so far, questions to a node."""

from __future__ import annotations

from typing import Any

from graphrec.blocks.base import Block
from graphrec.compiler.codegen.identifiers import Names, class_name
from graphrec.compiler.codegen.writer import Writer
from graphrec.compiler.layer_args import layer_args
from graphrec.errors import Span
from graphrec.graph import Graph, Group, Node, Ref

__all__ = [
    "NN",
    "State",
    "dropout",
    "group_columns",
    "layer",
    "layer_args",
    "place",
    "port_columns",
]

NN = "graphrec.nn"
_FIXED = frozenset(
    {"AutoDis", "Batch", "Dense", "Embeddings", "F", "FIT", "Lookup", "Mapping", "Table", "Tensor"}
)
_CONSTANTS = frozenset({"TABLES", "LOOKUPS", "FIRST_ORDER", "FIRST_ORDER_TABLES", "FIT"})


class State:
    """The file being written: its names, its imports, its lines."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.writer = Writer()
        self.attributes = Names()
        self.locals = Names()
        self.constants = Names(_CONSTANTS)
        self.groups: dict[tuple[str, str], str] = {}
        self.imports: dict[str, dict[str, str]] = {
            NN: {"Batch": "Batch", "initialize": "initialize"}
        }
        self.fitted = any(t.rows is None for t in (*graph.tables, *graph.first_order_tables))
        self.uses_functions = False
        self.attributes.take("embeddings")
        self.attributes.take("first_order")
        self.class_name = class_name(graph.name)
        layers = {layer(node)[1] for node in graph.nodes if isinstance(node.op, Block)}
        if self.class_name in layers | _FIXED:
            self.class_name += "Model"

    def use(self, name: str, module: str = NN) -> str:
        """Import a name; where another module's has the same one, under an alias."""
        known = self.imports.setdefault(module, {})
        if name not in known:
            taken = {alias for names in self.imports.values() for alias in names.values()}
            known[name] = name
            while known[name] in taken | {self.class_name}:
                known[name] += "_"
        return known[name]

    def variable(self, ref: Ref) -> str:
        """The local variable that holds an output."""
        return self.locals.take(str(ref))


def dropout(group: Group) -> dict[str, Any]:
    """Settings of variational dropout on the group, empty without it."""
    return dict(group.regularize.get("variational_dropout") or {})


def group_columns(graph: Graph, node: Node) -> dict[str, tuple[str, ...]]:
    """Suffix of the constant -> the columns that the group's ports read."""
    group = node.op
    assert isinstance(group, Group)
    wanted = {port_columns(group, port) for port in node.outputs} | (
        {""} if dropout(group) else set()
    )
    kinds = {lookup.column: lookup.kind for lookup in (*graph.first_order, *graph.lookups)}
    found = {
        "": group.keys if group.sequence and not group.query else group.features,
        "_values": tuple(
            c for c in group.features if kinds.get(c) in ("dense", "scaled", "autodis")
        ),
        "_query": group.query,
        "_keys": group.keys,
    }
    return {suffix: found[suffix] for suffix in found if suffix in wanted}


def port_columns(group: Group, port: str) -> str:
    if port == "values":
        return "_values"
    if not group.query:
        return ""
    return "_query" if port == "query" else "_keys"


def layer(node: Node) -> tuple[str, str]:
    """Module and class of the layer for the kernel named; the op behind it goes by the device."""
    assert isinstance(node.op, Block)
    named = node.kernel.layer if node.kernel else "torch"
    kernel = node.op.kernel(named) or node.op.kernel("torch")
    assert kernel is not None
    module, _, name = kernel.layer.partition(":")
    return module, name


def place(span: Span | None, title: str) -> str:
    """`recipe:5`, `base.yaml:7` for a line of a parent, `-o #1` for an override."""
    if span is None:
        return "recipe"
    if span.file is None:
        return str(span)
    name = span.file.replace("\\", "/").rpartition("/")[2]
    name = "".join(c if c.isprintable() else "_" for c in name)
    return f"recipe:{span.line}" if name == title else f"{name}:{span.line}"
