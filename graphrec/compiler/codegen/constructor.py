"""The class of generated code and its constructor: tables first, then a layer for each node."""

from __future__ import annotations

from typing import Any

from graphrec.blocks.base import Block
from graphrec.compiler.codegen.columns import first_order_columns
from graphrec.compiler.codegen.state import State, dropout, place
from graphrec.compiler.codegen.writer import Call, Raw, docstring
from graphrec.compiler.layer_args import layer, layer_args
from graphrec.graph import Group, Node

__all__ = ["constructor"]


def constructor(state: State) -> None:
    """Write the class as far as its `__init__`."""
    writer = state.writer
    writer.line()
    writer.line()
    writer.line(f"class {state.class_name}(nn.Module):")
    tasks = ", ".join(output.task for output in state.graph.outputs)
    aim = (
        "Gives queries and items vectors that meet."
        if state.graph.vectors
        else f"Predicts {tasks}."
    )
    writer.lines_of(docstring([aim], 4), 4)
    writer.line()
    argument = ", rows: Mapping[str, int]" if state.fitted else ""
    writer.line(f"def __init__(self{argument}) -> None:", 4)
    if state.fitted:
        writer.line('"""`rows`: number of rows of each table fitted to data."""', 8)
    writer.line("super().__init__()", 8)
    if state.graph.lookups:
        count = f"{len(state.graph.lookups)} columns, {len(state.graph.tables)} tables"
        _embeddings(state, "embeddings", Raw("COLUMNS"), count)
    if state.graph.first_order:
        _embeddings(state, "first_order", first_order_columns(state), "one weight per value")
    for node in state.graph.nodes:
        if isinstance(node.op, Block) and not node.shares:
            module, name = layer(node)
            kernel = node.kernel.comment if node.kernel else ""
            call = Call(state.use(name, module), named=layer_args(state.graph, node))
            _layer(state, node, node.name, call, kernel)
        elif isinstance(node.op, Group) and dropout(node.op):
            _layer(state, node, f"{node.name}.dropout", _dropout(state, node.op))
    former = {
        state.attributes.take(node.name): node.was.replace(".", "_")
        for node in state.graph.nodes
        if node.was and isinstance(node.op, Block) and not node.shares
    }
    if former:
        state.statement("", Call(state.use("renamed"), [Raw("self"), former]), "former names")
    state.statement("", Call("initialize", [Raw("self")], {"seed": state.graph.seed}))


def _embeddings(state: State, store: str, columns: Any, comment: str) -> None:
    choice = state.graph.table_kernels.get(store)
    named: dict[str, Any] = {"rows": Raw("rows")} if state.fitted else {}
    named |= {"kernel": choice.layer} if choice and choice.layer != "auto" else {}
    comment += f"; {choice.comment}" if choice and choice.comment else ""
    state.statement(f"self.{store}", Call(state.use("Embeddings"), [columns], named), comment)


def _layer(state: State, node: Node, wish: str, call: Call, kernel: str = "") -> None:
    attribute = state.attributes.take(wish)
    state.layers[node.name] = attribute
    comment = place(node.span, state.graph.title) + (f"; {kernel}" if kernel else "")
    state.statement(f"self.{attribute}", call, comment, node.name)


def _dropout(state: State, group: Group) -> Call:
    settings = dropout(group)
    widths = {lookup.column: lookup.dim for lookup in state.graph.lookups}
    named = {"widths": [widths[c] for c in group.features], "weight": settings["lambda"]}
    named |= {"in_eval": True} if settings["in_eval"] else {}
    return Call(state.use("VariationalDropout"), named=named)
