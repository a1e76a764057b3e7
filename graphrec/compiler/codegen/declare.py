"""Declarations of generated code: tables, columns, groups and the class's constructor."""

from __future__ import annotations

from typing import Any

from graphrec.blocks.base import Block
from graphrec.compiler.codegen.state import State, dropout, group_columns, layer, layer_args, place
from graphrec.compiler.codegen.writer import Call, Exploded, Raw, docstring
from graphrec.graph import Group, Lookup, Node

__all__ = ["constants", "constructor"]


def constants(state: State) -> None:
    graph = state.graph
    _collection(state, "TABLES", "LOOKUPS", graph.tables, graph.lookups)
    _collection(
        state, "FIRST_ORDER_TABLES", "FIRST_ORDER", graph.first_order_tables, graph.first_order
    )
    for node in graph.nodes:
        if isinstance(node.op, Group):
            for suffix, columns in group_columns(graph, node).items():
                name = state.constants.take(f"{node.name}{suffix}".upper())
                state.groups[node.name, suffix] = name
                state.writer.assign(name, columns, 0)


def _collection(
    state: State, tables_name: str, columns_name: str, tables: Any, columns: Any
) -> None:
    if not columns:
        return
    made = []
    for table in tables:
        rows = Raw(state.use("FIT")) if table.rows is None else table.rows
        named: dict[str, Any] = {"rows": rows, "dim": table.dim}
        named |= {} if table.init == "normal(0.01)" else {"init": table.init}
        named |= {} if table.trainable else {"trainable": False}
        named |= {} if table.dtype == "fp32" else {"dtype": table.dtype}
        made.append(Call(state.use("Table"), [table.name], named))
    state.writer.assign(tables_name, Exploded(made), 0)
    state.writer.assign(
        columns_name, Exploded([_column(state, c, columns_name) for c in columns]), 0
    )


def _column(state: State, lookup: Lookup, collection: str) -> Call:
    if lookup.kind == "autodis":
        return Call(state.use("AutoDis"), [lookup.column], {"dim": lookup.dim, **lookup.options})
    width = {"width": lookup.width} if lookup.width != 1 else {}
    if lookup.kind in ("dense", "dense_sequence"):
        sequence = {"sequence": True} if lookup.kind == "dense_sequence" else {}
        return Call(state.use("Dense"), [lookup.column], {**width, **sequence})
    if lookup.kind == "scaled":
        init = {"init": "zeros"} if collection == "FIRST_ORDER" else {}
        return Call(state.use("Dense"), [lookup.column], {"dim": lookup.dim, **width, **init})
    pool = {"pool": lookup.pool} if lookup.pool else {}
    sequence = {"sequence": True} if lookup.kind == "sequence" else {}
    return Call(state.use("Lookup"), [lookup.column], {"table": lookup.table, **pool, **sequence})


def constructor(state: State) -> None:
    writer = state.writer
    writer.line()
    writer.line()
    writer.line(f"class {state.class_name}(nn.Module):")
    tasks = ", ".join(output.task for output in state.graph.outputs)
    writer.lines_of(docstring([f"Predicts {tasks}."], 4), 4)
    writer.line()
    argument = ", rows: Mapping[str, int]" if state.fitted else ""
    writer.line(f"def __init__(self{argument}) -> None:", 4)
    if state.fitted:
        writer.line('"""`rows`: number of rows of each table fitted to data."""', 8)
    writer.line("super().__init__()", 8)
    rows = [Raw("rows")] if state.fitted else []
    if state.graph.lookups:
        args = [Raw("TABLES" if state.graph.tables else "[]"), Raw("LOOKUPS"), *rows]
        count = f"{len(state.graph.lookups)} columns, {len(state.graph.tables)} tables"
        _embeddings(state, "embeddings", args, count)
    if state.graph.first_order:
        args = [
            Raw("FIRST_ORDER_TABLES" if state.graph.first_order_tables else "[]"),
            Raw("FIRST_ORDER"),
            *rows,
        ]
        _embeddings(state, "first_order", args, "one weight per value")
    for node in state.graph.nodes:
        if isinstance(node.op, Block) and not node.shares:
            _construct(state, node)
        elif isinstance(node.op, Group) and dropout(node.op):
            _construct_dropout(state, node, node.op)
    former = {
        state.attributes.take(node.name): node.was.replace(".", "_")
        for node in state.graph.nodes
        if node.was and isinstance(node.op, Block) and not node.shares
    }
    if former:
        writer.assign("", Call(state.use("renamed"), [Raw("self"), former]), 8, "former names")
    writer.assign("", Call("initialize", [Raw("self")], {"seed": state.graph.seed}), 8)
    writer.line()


def _embeddings(state: State, store: str, args: list[Any], comment: str) -> None:
    choice = state.graph.table_kernels.get(store)
    named: dict[str, Any] = {"draw": False}  # `initialize` does, below
    named |= {"kernel": choice.layer} if choice and choice.layer != "auto" else {}
    shown = f"   {choice.comment}" if choice and choice.comment else ""
    call = Call(state.use("Embeddings"), args, named)
    state.writer.assign(f"self.{store}", call, 8, comment + shown)


def _construct(state: State, node: Node) -> None:
    assert isinstance(node.op, Block)
    module, name = layer(node)
    shown = f"   {node.kernel.comment}" if node.kernel and node.kernel.comment else ""
    state.writer.assign(
        f"self.{state.attributes.take(node.name)}",
        Call(state.use(name, module), named=layer_args(state.graph, node)),
        8,
        place(node.span, state.graph.title) + shown,
        node.name,
    )


def _construct_dropout(state: State, node: Node, group: Group) -> None:
    settings = dropout(group)
    widths = {lookup.column: lookup.dim for lookup in state.graph.lookups}
    named = {"widths": [widths[c] for c in group.features], "weight": settings["lambda"]}
    named |= {"in_eval": True} if settings["in_eval"] else {}
    state.writer.assign(
        f"self.{state.attributes.take(f'{node.name}.dropout')}",
        Call(state.use("VariationalDropout"), named=named),
        8,
        place(node.span, state.graph.title),
        node.name,
    )
