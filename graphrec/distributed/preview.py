"""The plan of a recipe for ranks that are not there, and how any plan is shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from graphrec.compiler.pipeline import Compiled
from graphrec.data import Encoder
from graphrec.data.plan import plan as columns_of
from graphrec.distributed.planning import MARGIN, attach_optimizers, make_plan
from graphrec.distributed.refusals import refuse
from graphrec.distributed.sharded_step import Model, Step, Tables
from graphrec.distributed.sharding_plan import Cluster, Part, Plan
from graphrec.ground.text import aligned, count, memory
from graphrec.recipe.model import Recipe, SequenceFeature
from graphrec.train.optimizers import make_optimizers
from graphrec.train.run import read_info

__all__ = ["fitted_rows", "id_lengths", "plan_data", "plan_text", "preview"]

ASSUMED = 1000
"""Rows of a table that only the training data could tell."""


def preview(
    compiled: Compiled, cluster: Cluster, batch: int, rows: Mapping[str, int]
) -> tuple[Plan, tuple[str, ...]]:
    """The plan, and remarks on it; the tables are on the meta device: no row is allocated.

    `rows` are the sizes of fitted tables that are known. Raises RecipeError (GR901, GR904).
    """
    recipe = compiled.recipe
    refuse(recipe, compiled.graph, cluster.device)
    open_ones = sorted(
        {table.name for table in compiled.graph.tables if table.rows is None} - rows.keys()
    )
    sizes = {**dict.fromkeys(open_ones, ASSUMED), **rows}
    with torch.device("meta"):
        module = compiled.module(sizes)
        weighted = frozenset(f.key for f in columns_of(recipe).fields if f.weights)
        tables = Tables(module, weighted)
    optimizers = make_optimizers(module, recipe, 1, elsewhere=[*tables.readings])
    rates = {owner: rate for owner, (rate, _) in optimizers.table_rates.items()}
    sharded = tables.modules()
    attach_optimizers(sharded, tables.by_name, rates, recipe.train.optim.sparse)
    step = Step(sharded, Model(module, tables, None, lambda predictions, share: torch.zeros(())))
    plan = make_plan(
        step,
        tables.collections,
        cluster,
        batch,
        recipe.train.shard,
        id_lengths(recipe),
        recipe.train.optim.sparse.name,
    )
    remarks = []
    if open_ones:
        named = ", ".join(open_ones[:5]) + (", ..." if len(open_ones) > 5 else "")
        remarks.append(
            f"{len(open_ones)} tables are fitted to data and taken as {ASSUMED:,} rows ({named}): "
            "--run RUN takes the sizes of a run"
        )
    return plan, tuple(remarks)


def fitted_rows(recipe: Recipe, run: Path) -> dict[str, int]:
    """Rows of every table as a run folder has fitted them."""
    read_info(run)
    return dict(Encoder.load(recipe, run).rows)


def id_lengths(recipe: Recipe) -> dict[str, float]:
    """How many ids a row has at most in a column of a history."""
    return {
        f"{name}.{part}": float(feature.max_len)
        for name, feature in recipe.features.items()
        if isinstance(feature, SequenceFeature)
        for part in feature.of
    }


def plan_text(plan: Plan) -> str:
    """The plan as a table, and what the most loaded rank holds and does."""
    tables: dict[str, list[Part]] = {}
    for part in plan.parts:
        tables.setdefault(part.table.key.removesuffix(".weight"), []).append(part)
    head = ["table", "rows", "dim", "sharding", "ranks", "rows/rank", "weights", "optimizer"]
    lines = [[*head, "input", "output", "ms"]]
    for name, parts in tables.items():
        most = max(parts, key=lambda part: part.storage)
        lines.append(
            [
                name,
                count(parts[0].table.rows),
                str(parts[0].table.dim),
                most.way,
                str(len({part.rank for part in parts})),
                count(most.rows),
                *(memory(n) for n in (most.weights, most.optimizer, most.input, most.output)),
                f"{max(part.cost for part in parts):.3g}",
            ]
        )
    body = aligned(lines, right=frozenset({1, 2, *range(4, 11)}))
    return "\n".join([_title(plan), "", body, "", *_loads(plan)])


def plan_data(plan: Plan) -> dict[str, Any]:
    """The plan as JSON: every part, and the sums of every rank."""
    parts = [
        {
            "table": part.table.key.removesuffix(".weight"),
            "sharding": part.way,
            "kernel": part.kernel,
            "rank": part.rank,
            "rows": part.rows,
            "columns": part.columns,
            "bytes": {
                "weights": part.weights,
                "optimizer": part.optimizer,
                "input": part.input,
                "output": part.output,
            },
            "ms": part.cost,
        }
        for part in plan.parts
    ]
    ranks = [
        {"rank": rank, "bytes": size, "ms": cost}
        for rank, (size, cost) in sorted(_by_rank(plan).items())
    ]
    return {
        "ranks": plan.cluster.ranks,
        "device": plan.cluster.device,
        "batch": plan.batch,
        "parts": parts,
        "by_rank": ranks,
        "ms_per_step": max((entry["ms"] for entry in ranks), default=0.0),
    }


def _title(plan: Plan) -> str:
    cluster = plan.cluster
    local = -(-plan.batch // cluster.ranks)
    return (
        f"plan for {cluster.ranks:,} ranks on {cluster.device} ({cluster.hosts} hosts), "
        f"batch {plan.batch:,} ({local:,} rows a rank)"
    )


def _loads(plan: Plan) -> list[str]:
    loads = _by_rank(plan)
    if not loads:
        return ["no table is trained"]
    fullest = max(loads, key=lambda rank: loads[rank][0])
    busiest = max(loads, key=lambda rank: loads[rank][1])
    total = sum(size for size, _ in loads.values())
    return [
        f"all ranks: {memory(total)} of tables, their optimizer, ids and vectors of a batch",
        f"fullest:   rank {fullest}, {memory(loads[fullest][0])} of {memory(plan.cluster.room)}"
        f" (torchrec leaves {MARGIN:.0%} of it to the dense part)",
        f"busiest:   rank {busiest}, {loads[busiest][1]:.3g} ms a step by torchrec's estimate",
    ]


def _by_rank(plan: Plan) -> dict[int, tuple[int, float]]:
    load: dict[int, tuple[int, float]] = {}
    for part in plan.parts:
        size, cost = load.get(part.rank, (0, 0.0))
        load[part.rank] = (size + part.storage, cost + part.cost)
    return load
