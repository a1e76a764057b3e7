"""A collection of tables alone: random ids, the lookup, its gradients, the optimizer's update."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from graphrec.compiler.codegen import lower
from graphrec.compiler.loader import load
from graphrec.graph import Graph, Lookup, Table
from graphrec.nn import Jagged
from graphrec.nn.embedding import Embeddings
from graphrec.nn.tables import first_order
from graphrec.recipe.model import Recipe
from graphrec.recipe.training import Schedule
from graphrec.train.optimizers import Optimizers, make_optimizers
from graphrec.verify.compare import Results
from graphrec.verify.kernels.jobs import StoreJob
from graphrec.verify.kernels.layer import How, steps
from graphrec.verify.layer_calls import upstream

__all__ = ["FITTED", "Store", "capped", "features", "make", "results"]

FITTED = 10_000
"""Rows of a table whose size the training data decides."""
_BYTES = 256 << 20
"""Largest size of all weights together: every kernel holds a copy, with its optimizer state."""
_BAG = 4
"""Most values of a multi-valued column; they are uniform from 0."""


@dataclass(frozen=True)
class Store:
    """The tables under their optimizer; `columns` are read together, histories by sequence."""

    module: nn.Module
    optimizers: Optimizers
    columns: tuple[tuple[str, ...], ...]

    def look_up(self, batch: Mapping[str, Any]) -> list[Tensor]:
        """What the graph reads: all columns of single rows side by side, each history."""
        embedded = self.module.embeddings(batch)  # type: ignore[operator]
        return [embedded.concat(names) for names in self.columns]

    def forward(self, batch: Mapping[str, Any]) -> Callable[[], object]:
        """One lookup without gradients."""

        def run() -> object:
            with torch.no_grad():
                return self.look_up(batch)

        return run

    def train(self, batch: Mapping[str, Any]) -> Callable[[], object]:
        """One lookup, its gradients, and the update of the rows."""
        back: list[Tensor] = []

        def run() -> object:
            self.optimizers.zero_grad()
            outputs = [o for o in self.look_up(batch) if o.requires_grad]
            if not back:
                back.extend(upstream(outputs))
            if outputs:
                torch.autograd.backward(outputs, back)
            return self.optimizers.step()

        return run


def capped(job: StoreJob) -> tuple[StoreJob, str]:
    """The tables with sizes known and bounded, and a remark where that changed them."""
    tables = [replace(table, rows=table.rows or FITTED) for table in job.tables]
    total = sum((table.rows or 0) * table.dim * 4 for table in tables)
    if total <= _BYTES:
        return replace(job, tables=tuple(tables)), ""
    share = _BYTES / total
    cut = tuple(replace(t, rows=max(2, int((t.rows or 0) * share))) for t in tables)
    remark = f"{job.name}: tables cut to {share:.0%} of their rows, {_BYTES >> 20} MiB, for timing"
    return replace(job, tables=cut), remark


def make(job: StoreJob, graph: Graph, recipe: Recipe, kernel: str, device: str) -> Store:
    """The collection with its kernel and the recipe's optimizer of tables; `job` is capped."""
    module = nn.Module()
    module.embeddings = Embeddings(_declared(job, graph), kernel=kernel)
    train = recipe.train.model_copy(
        update={"groups": {}, "accumulate": 1, "clip": None, "schedule": Schedule()}
    )
    plain = recipe.model_copy(update={"train": train})
    module.to(device)
    return Store(module, make_optimizers(module, plain), _columns(job))


def _declared(job: StoreJob, graph: Graph) -> list[Any]:
    """Tables and columns as generated code declares them."""
    rows = {table.name: table.rows for table in job.tables}
    first = job.nodes[0] == "first_order"
    sized = tuple(replace(t, rows=rows.get(t.name, t.rows or FITTED)) for t in graph.tables)
    small = {"tables": sized, "first_order_tables": job.tables} if first else {"tables": job.tables}
    fixed = replace(graph, **small)  # type: ignore[arg-type]
    generated = sys.modules[load(lower(fixed, recipe_hash="", version="")).__module__]
    if not first:
        return list(generated.COLUMNS)
    own = getattr(generated, "FIRST_ORDER", None)
    names = [lookup.column for lookup in graph.first_order]
    return list(own or first_order(generated.COLUMNS, names, graph.first_order[0].dim))


def _columns(job: StoreJob) -> tuple[tuple[str, ...], ...]:
    single = tuple(c.column for c in job.lookups if "sequence" not in c.kind)
    histories: dict[str, list[str]] = {}
    for lookup in job.lookups:
        if "sequence" in lookup.kind:
            histories.setdefault(lookup.column.partition(".")[0], []).append(lookup.column)
    return tuple(group for group in (single, *map(tuple, histories.values())) if group)


def features(
    job: StoreJob, batch: int, how: How = "uniform", device: str = "cpu"
) -> dict[str, Any]:
    """Random ids, uniform over the rows, and random numbers; `job` is capped."""
    tables = {table.name: table for table in job.tables}
    generator = torch.Generator().manual_seed(3)
    columns: dict[str, Any] = {}
    for lookup in job.lookups:
        column = _column(lookup, tables, job.lengths, batch, how, generator)
        columns[lookup.column] = column.to(device)
    return columns


def _column(
    lookup: Lookup,
    tables: Mapping[str, Table],
    lengths: Mapping[str, int],
    batch: int,
    how: How,
    generator: torch.Generator,
) -> Tensor | Jagged:
    rows = (tables[lookup.table].rows or FITTED) if lookup.table else 0

    def values(count: int) -> Tensor:
        if lookup.table is None:
            return torch.rand(count, lookup.width, generator=generator)
        return torch.randint(0, rows, (count,), generator=generator)

    def bags(count: int) -> Tensor | Jagged:
        if not lookup.pool:
            return values(count)
        sizes = torch.tensor(steps(count, _BAG, how), dtype=torch.int64)
        return Jagged(values(int(sizes.sum())), sizes)

    if "sequence" not in lookup.kind:
        return bags(batch)
    taken = steps(batch, lengths.get(lookup.column.partition(".")[0], 1), how)
    inner: Any = bags(sum(taken))
    return Jagged(inner, torch.tensor(taken, dtype=torch.int64))


def results(store: Store, batch: Mapping[str, Any]) -> Results:
    """What is looked up, its gradients by table, and the tables after two updates."""
    outputs = store.look_up(batch)
    values: dict[str, Tensor | None] = {
        f"output {i}": o.detach().clone() for i, o in enumerate(outputs)
    }
    live = [(o, g) for o, g in zip(outputs, upstream(outputs), strict=True) if o.requires_grad]
    store.optimizers.zero_grad()
    if live:
        torch.autograd.backward([o for o, _ in live], [g for _, g in live])
    for name, parameter in store.module.named_parameters():
        grad = parameter.grad
        dense = grad.to_dense() if grad is not None and grad.is_sparse else grad
        values[f"gradient of {name}"] = None if dense is None else dense.clone()
    again = store.train(batch)
    store.optimizers.step()
    again()
    for name, weight in store.module.state_dict().items():
        values[f"output: {name} after updates"] = weight.detach().clone()
    return Results(values, sum(float(g.square().sum()) for _, g in live) ** 0.5)
