"""COLUMNS of generated code: what is looked up in which table, families of equal settings once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from graphrec.compiler.codegen.state import State
from graphrec.compiler.codegen.writer import WIDTH, Call, Exploded, Raw, literal
from graphrec.graph import Graph, Lookup, Table

__all__ = ["declare_columns", "first_order_columns"]

_FEW = 3
"""Up to so many equal columns stand by themselves where a family needs several lines: a family of
three, one name a line, is longer than its three members."""
_RUN = 3
"""So many names that differ by their number are written `C1..C3`; two are shorter as they are."""


def declare_columns(state: State) -> None:
    """Write the declarations of both collections."""
    graph = state.graph
    if graph.lookups:
        state.declare("COLUMNS", _declarations(state, graph.tables, graph.lookups))
    if graph.first_order and not _is_derived(graph):
        columns = _declarations(state, graph.first_order_tables, graph.first_order)
        state.declare("FIRST_ORDER", columns)


def first_order_columns(state: State) -> Any:
    """The first-order columns: derived from COLUMNS where they are the same, only narrower."""
    graph = state.graph
    if not _is_derived(graph):
        return Raw("FIRST_ORDER")
    named: dict[str, Any] = {}
    columns = tuple(column.column for column in graph.first_order)
    if columns != tuple(c.column for c in graph.lookups if not _is_history(c)):
        named["names"] = state.columns(columns, "first_order_names")
    width = graph.first_order[0].dim
    named |= {} if width == 1 else {"width": width}
    return Call(state.use("first_order"), [Raw("COLUMNS")], named)


def _is_history(lookup: Lookup) -> bool:
    return lookup.kind in ("sequence", "dense_sequence")


def _is_derived(graph: Graph) -> bool:
    """Whether each first-order column is looked up in full too, and all have one width."""
    full = {lookup.column for lookup in graph.lookups}
    widths = {lookup.dim for lookup in graph.first_order}
    return len(widths) == 1 and all(lookup.column in full for lookup in graph.first_order)


def _declarations(state: State, tables: Sequence[Table], columns: Sequence[Lookup]) -> Exploded:
    owned = {c.column for c in columns if c.kind == "id" and c.table == c.column}
    by_name = {table.name: table for table in tables}
    families: dict[str, tuple[str, dict[str, Any], list[str]]] = {}
    for table in tables:
        if table.name not in owned:  # shared, or of a history alone
            families[f"Table {table.name}"] = ("Table", _settings(state, table), [table.name])
    for lookup in columns:
        kind, named = _column(state, lookup, by_name if lookup.column in owned else {})
        family = families.setdefault(f"{kind} {literal(named)}", (kind, named, []))
        family[2].append(lookup.column)
    return Exploded(
        entry
        for kind, named, names in families.values()
        for entry in _family(state, kind, named, names)
    )


def _settings(state: State, table: Table) -> dict[str, Any]:
    """What a table is, where it is declared; defaults are not said."""
    rows = Raw(state.use("FIT")) if table.rows is None else table.rows
    named: dict[str, Any] = {"rows": rows, "dim": table.dim}
    named |= {} if table.init == "normal(0.01)" else {"init": table.init}
    named |= {} if table.trainable else {"trainable": False}
    return named | ({} if table.dtype == "fp32" else {"dtype": table.dtype})


def _column(state: State, lookup: Lookup, owned: dict[str, Table]) -> tuple[str, dict[str, Any]]:
    """Class and settings of a column."""
    width = {"width": lookup.width} if lookup.width != 1 else {}
    sequence = {"sequence": True} if _is_history(lookup) else {}
    if lookup.kind == "autodis":
        return "AutoDis", {"dim": lookup.dim, **lookup.options}
    if lookup.kind in ("dense", "dense_sequence"):
        return "Dense", {**width, **sequence}
    if lookup.kind == "scaled":
        first = lookup in state.graph.first_order
        return "Dense", {"dim": lookup.dim, **width, **({"init": "zeros"} if first else {})}
    table = {} if lookup.table == lookup.column else {"table": lookup.table}
    own = _settings(state, owned[lookup.column]) if owned else {}
    pool = {"pool": lookup.pool} if lookup.pool else {}
    return "Lookup", {**table, **own, **pool, **sequence}


def _family(state: State, kind: str, named: dict[str, Any], names: list[str]) -> Iterator[Any]:
    """One entry for all columns of equal settings, or one each where that is shorter."""
    function = state.use(kind)
    spelled = list(_spelled(names))
    if len(names) > 1:
        family = Call(f"*{function}.each", spelled, named)
        if len(literal(family)) + 5 <= WIDTH or len(spelled) > _FEW or len(spelled) < len(names):
            yield family
            return
    yield from (Call(function, [name], named) for name in names)


def _spelled(names: list[str]) -> Iterator[str]:
    """The names, those of a run of numbers as `C1..C26`, ordered by name and number."""
    numbered: dict[str, list[int]] = {}
    for name in names:
        match = re.fullmatch(r"(.*?)(0|[1-9]\d*)", name)
        if match and match[1]:
            numbered.setdefault(match[1], []).append(int(match[2]))
    written: dict[str, str] = {name: name for name in names}
    for prefix, numbers in numbered.items():
        for first, last in _runs(sorted(numbers)):
            for number in range(first, last + 1):
                written[f"{prefix}{number}"] = f"{prefix}{first}..{prefix}{last}"
    yield from dict.fromkeys(written[name] for name in names)


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of every run that is long enough to be written as one."""
    start = 0
    for place in range(1, len(numbers) + 1):
        if place == len(numbers) or numbers[place] != numbers[place - 1] + 1:
            if place - start >= _RUN:
                yield numbers[start], numbers[place - 1]
            start = place
