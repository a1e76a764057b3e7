"""Every column is looked up once, in one collection that serves all groups.

A lookup is the dearest thing a row needs (a miss of the cache each), and groups overlap: `all`,
`user` and a history's target read the same item. One collection also lets tables of one width lie
in one tensor, read and updated in one call.
"""

from __future__ import annotations

from dataclasses import replace

from graphrec.compiler.target import Target
from graphrec.graph import Graph, Group, Lookup, Table

__all__ = ["tables"]


def tables(graph: Graph, target: Target) -> Graph:
    """Keep one lookup per column that a group reads, and one table for all lookups that share it.

    First-order terms (`<group>.linear`) get a collection of their own: one weight per value and
    class, in tables of that width, shared by all groups alike.
    """
    full: set[str] = set()
    linear: dict[str, int] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Group):
            continue
        if node.outputs.keys() - {"linear"}:
            full |= {*node.op.features, *node.op.query, *node.op.keys}
        if "linear" in node.outputs:
            linear |= dict.fromkeys(node.op.features, node.outputs["linear"].width)
    lookups = tuple(lookup for lookup in graph.lookups if lookup.column in full)
    first = tuple(
        _first(lookup, linear[lookup.column]) for lookup in graph.lookups if lookup.column in linear
    )
    widths = {lookup.table: lookup.dim for lookup in first if lookup.table}
    used = {lookup.table for lookup in lookups}
    return replace(
        graph,
        lookups=lookups,
        tables=tuple(table for table in graph.tables if table.name in used),
        first_order=first,
        first_order_tables=tuple(
            _first_table(t, widths[t.name]) for t in graph.tables if t.name in widths
        ),
    )


def _first(lookup: Lookup, width: int) -> Lookup:
    """The same column with one weight per value, pooled alike (numbers: a weight each)."""
    if lookup.table is None:
        return Lookup(lookup.column, "scaled", width, width=lookup.width, side=lookup.side)
    return replace(lookup, dim=width)


def _first_table(table: Table, width: int) -> Table:
    return replace(table, dim=width, init="zeros")
