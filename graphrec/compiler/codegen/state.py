"""What the parts of code generation share: names in use, imports, the text so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphrec.blocks.base import Block
from graphrec.compiler.codegen.identifiers import Names, class_name
from graphrec.compiler.codegen.terms import FUNCTIONS
from graphrec.compiler.codegen.writer import Call, Raw, Writer, literal
from graphrec.compiler.layer_args import layer
from graphrec.graph import Graph, Group, Ref
from graphrec.ground.errors import Span

__all__ = ["METHODS", "NN", "State", "dropout", "place"]

NN = "graphrec.nn"
_FIXED = frozenset({"AutoDis", "Batch", "Dense", "Embeddings", "F", "FIT", "Lookup", "Mapping"})
_FIXED |= {"Split", "Table", "Tensor"}
_CONSTANTS = frozenset({"COLUMNS", "FIRST_ORDER", "FIT"})
METHODS = {"query": "encode_query", "item": "encode_item"}
"""Methods of a model for retrieval, by what they give a vector for."""
_INLINE = 2
"""More names than these are a constant: two read as easily in their place."""


class State:
    """The file being written: declarations above the class, the class, their names and imports."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.declarations = Writer()
        self.writer = Writer()
        self.attributes = Names()
        self.locals = Names()
        self.layers: dict[str, str] = {}
        self.imports: dict[str, dict[str, str]] = {
            NN: {"Batch": "Batch", "initialize": "initialize"}
        }
        self.fitted = any(t.rows is None for t in (*graph.tables, *graph.first_order_tables))
        self.uses_functions = False
        self.indent = 8
        self.attributes.take("embeddings")
        self.attributes.take("first_order")
        for method in METHODS.values() if graph.vectors else ():
            self.attributes.take(method)
        self.class_name = class_name(graph.name)
        layers = {layer(node)[1] for node in graph.nodes if isinstance(node.op, Block)}
        if self.class_name in layers | _FIXED:
            self.class_name += "Model"
        self._constants = Names(*_CONSTANTS)
        self._lists: dict[tuple[str, ...], str] = {}

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

    def columns(self, names: Sequence[str], wish: str) -> Any:
        """A list of columns: in its place if it is short, else a constant that is said once."""
        names = tuple(names)
        if len(names) <= _INLINE:
            return list(names)
        if names not in self._lists:
            self._lists[names] = self._constants.take(wish.upper())
            self.declare(self._lists[names], list(names))
        return Raw(self._lists[names])

    def declare(self, name: str, value: Any) -> None:
        """A constant above the class."""
        self.declarations.assign(name, value, 0)

    def statement(self, target: str, value: Any, comment: str = "", owner: str = "") -> None:
        """A line of a method."""
        self.uses_functions |= f"{FUNCTIONS}." in literal(value)
        self.writer.assign(target, value, self.indent, comment, owner)

    def fits(self, target: str, value: Any, comment: str = "") -> bool:
        """Whether such a statement is laid out as ruff would, without a sum over several lines."""
        return self.writer.fits(target, value, self.indent, comment)

    def function(self, name: str, *args: Any) -> Call:
        """A call of one of graphrec's functions."""
        return Call(f"{FUNCTIONS}.{name}", args)


def dropout(group: Group) -> dict[str, Any]:
    """Settings of variational dropout on the group, empty without it."""
    return dict(group.regularize.get("variational_dropout") or {})


def place(span: Span | None, title: str) -> str:
    """`recipe:5`, `base.yaml:7` for a line of a parent, `-o #1` for an override."""
    if span is None:
        return "recipe"
    if span.file is None:
        return str(span)
    name = span.file.replace("\\", "/").rpartition("/")[2]
    name = "".join(c if c.isprintable() else "_" for c in name)
    return f"recipe:{span.line}" if name == title else f"{name}:{span.line}"
