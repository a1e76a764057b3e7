"""Rows for a graph with two sides: one request, its candidates, and the same as a plain batch."""

from __future__ import annotations

import torch
from torch import Tensor

from graphrec.graph import Graph, Lookup
from graphrec.nn import Batch, Jagged
from graphrec.nn.split import rows as with_rows

__all__ = ["FITTED", "one_request"]

FITTED = 30
"""Rows of every table whose size comes from data."""


def one_request(graph: Graph, count: int, longest: int = 6) -> tuple[Batch, Batch, Batch]:
    """A request, `count` candidates, and the request said again beside every candidate."""
    made = torch.Generator().manual_seed(count)
    request: dict[str, Tensor | Jagged] = {}
    candidates: dict[str, Tensor | Jagged] = {}
    lengths: dict[str, Tensor] = {}
    sizes = {table.name: table.rows for table in (*graph.tables, *graph.first_order_tables)}
    for lookup in {c.column: c for c in (*graph.first_order, *graph.lookups)}.values():
        mine = request if lookup.side == "request" else candidates
        rows = 1 if lookup.side == "request" else count
        size = (sizes[lookup.table] if lookup.table else None) or FITTED
        mine[lookup.column] = _column(lookup, rows, size, lengths, made, longest)
    said = {name: with_rows(value, count) for name, value in request.items()}
    return Batch(request), Batch(candidates), Batch({**said, **candidates})


def _column(
    lookup: Lookup,
    rows: int,
    size: int,
    lengths: dict[str, Tensor],
    made: torch.Generator,
    longest: int,
) -> Tensor | Jagged:
    sequence = lookup.column.partition(".")[0]
    if lookup.kind in ("dense", "scaled", "autodis"):
        return torch.rand(rows, lookup.width, generator=made)
    if lookup.kind == "id" and lookup.pool is None:
        return torch.randint(size, (rows,), generator=made)
    if sequence not in lengths:  # the columns of one history have equally many steps
        low = longest if lookup.side == "request" and lookup.pool is None else 0
        lengths[sequence] = torch.randint(low, longest + 1, (rows,), generator=made)
    steps = int(lengths[sequence].sum())
    if lookup.kind == "dense_sequence":
        return Jagged(torch.rand(steps, lookup.width, generator=made), lengths[sequence])
    ids = torch.randint(size, (steps,), generator=made)
    if lookup.pool and lookup.kind == "sequence":
        raise NotImplementedError("several ids a step")
    return Jagged(ids, lengths[sequence])
