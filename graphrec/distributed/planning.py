"""torchrec's planner: which ranks hold which part of which table, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.distributed.optim.apply_optimizer_in_backward import (
    _apply_optimizer_in_backward as apply_optimizer_in_backward,
)
from torchrec.distributed.embedding import EmbeddingCollectionSharder
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints
from torchrec.distributed.planner.proposers import GreedyProposer, UniformProposer
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.distributed.planner.types import (
    PlannerError,
    ShardingOption,
    Stats,
)
from torchrec.distributed.types import ModuleSharder
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad

from graphrec.distributed.collections import ShardedTable, TableCollection
from graphrec.distributed.sharding_plan import ELEMENT, Cluster, Part, Plan, parts_of
from graphrec.distributed.torchrec_library import quiet
from graphrec.ground.errors import Problem, RecipeError
from graphrec.recipe.training import Optimizer

__all__ = ["Cluster", "Part", "Plan", "attach_optimizers", "make_plan", "sharders"]

WAYS = ("table_wise", "row_wise", "column_wise", "table_row_wise", "data_parallel")
"""torchrec's ways of sharding that a recipe may name, beside `auto`."""

_SMALLEST_COLUMNS = 4  # of a shard: FBGEMM's tables have widths that are multiples of 4
MARGIN = 0.15  # of the memory is not the planner's: the dense part, activations


class _Record(Stats):  # type: ignore[misc]
    """Keeps the options that were chosen: the plan itself has no sizes and costs."""

    def __init__(self) -> None:
        self.options: list[ShardingOption] = []

    def log(self, *_: Any, best_plan: Sequence[ShardingOption] = (), **__: Any) -> None:
        self.options = list(best_plan)


class _BagSharder(EmbeddingBagCollectionSharder):  # type: ignore[misc]
    """The planner lists row-wise sharding for CUDA alone; it runs on CPUs just the same."""

    def sharding_types(self, compute_device_type: str) -> list[str]:
        return list(WAYS)


class _RowSharder(EmbeddingCollectionSharder):  # type: ignore[misc]
    def sharding_types(self, compute_device_type: str) -> list[str]:
        return list(WAYS)


def sharders() -> list[ModuleSharder[nn.Module]]:
    """Who turns collections into sharded ones."""
    return [_BagSharder(), _RowSharder()]


def attach_optimizers(
    module: nn.Module,
    tables: Mapping[str, ShardedTable],
    rates: Mapping[str, float],
    how: Optimizer,
) -> None:
    """Ask for the fused optimizer of every table's parameter, with every number spelled out.

    torchrec's and FBGEMM's defaults differ (eps 1e-10 and 1e-8). Where a table is wider there than
    here, the mean square over its columns is smaller by a factor, which rate and eps make good.
    """
    classes = {
        "adagrad": torch.optim.Adagrad,
        "rowwise_adagrad": RowWiseAdagrad,
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
    }
    for name, parameter in module.named_parameters():
        table = tables[name.removesuffix(".weight").split(".")[-1]]
        given: dict[str, Any] = {"lr": rates[table.owner]}
        if how.name != "sgd":
            given["eps"] = how.eps
        if how.name == "rowwise_adagrad":
            factor = (table.dim / table.width) ** 0.5
            given = {key: value * factor for key, value in given.items()}
        if how.name == "adam":
            given["betas"] = how.betas
        apply_optimizer_in_backward(classes[how.name], [parameter], given)


def make_plan(
    module: nn.Module,
    collections: Sequence[TableCollection],
    cluster: Cluster,
    batch: int,
    wishes: Mapping[str, str],
    lengths: Mapping[str, float],
    optimizer: str,
) -> Plan:
    """Plan the collections in `module`, for `batch` rows over all ranks.

    `wishes` are the recipe's `train.shard`, `lengths` how many ids a row has in a column. Raises
    RecipeError (GR904) where no plan fits.
    """
    tables = {table.name: table for c in collections for table in c.tables}
    record, topology = _Record(), cluster.topology()
    local = max(1, -(-batch // cluster.ranks))
    planner = EmbeddingShardingPlanner(
        topology=topology,
        batch_size=local,
        constraints={
            name: _constraints(name, table, collection, cluster, wishes, lengths, optimizer)
            for collection in collections
            for name, table in ((t.name, t) for t in collection.tables)
        },
        storage_reservation=FixedPercentageStorageReservation(MARGIN),
        proposer=[GreedyProposer(), GreedyProposer(use_depth=False), UniformProposer()],
        stats=[record],
        debug=False,
    )
    with quiet():
        try:
            sharding = planner.plan(module, sharders())
        except PlannerError as error:
            raise RecipeError(_unplannable(error, tables, cluster)) from None
    parts = [part for option in record.options for part in parts_of(option, tables, cluster, local)]
    parts.sort(key=lambda part: (part.table.key, part.rank))
    return Plan(cluster, batch, tuple(parts), sharding)


def way_of(table: str, owner: str, wishes: Mapping[str, str]) -> str:
    """What the recipe wishes for a table: its own entry, that of its owner, `*`, else auto."""
    return wishes.get(table, wishes.get("*", "auto"))


def _constraints(
    name: str,
    table: ShardedTable,
    collection: TableCollection,
    cluster: Cluster,
    wishes: Mapping[str, str],
    lengths: Mapping[str, float],
    optimizer: str,
) -> ParameterConstraints:
    columns = [c for c, t in collection.table_of.items() if t.name == name]
    wish = way_of(table.piece.key.removesuffix(".weight"), table.owner, wishes)
    ways = [wish] if wish != "auto" else _ways(table, cluster, optimizer)
    return ParameterConstraints(
        sharding_types=ways,
        compute_kernels=["dense"] if ways == ["data_parallel"] else ["fused", "dense"],
        min_partition=_SMALLEST_COLUMNS if ways == ["column_wise"] else None,
        pooling_factors=[max(lengths.get(column, 1.0), 1.0) for column in columns],
    )


def _ways(table: ShardedTable, cluster: Cluster, optimizer: str) -> list[str]:
    """The ways the planner may choose from."""
    ways = ["table_wise"]
    if divides(table.rows, cluster.ranks):
        ways.append("row_wise")
    if cluster.hosts > 1 and divides(table.rows, cluster.local):
        ways.append("table_row_wise")
    return ways


def divides(rows: int, ranks: int) -> bool:
    """Whether each of the ranks gets rows: a sharded table can't have a part without any."""
    return -(-rows // ranks) * (ranks - 1) < rows


def _unplannable(
    error: PlannerError, tables: Mapping[str, ShardedTable], cluster: Cluster
) -> Problem:
    total = sum(table.rows * table.width * ELEMENT for table in tables.values())
    reason = " ".join(str(error).split())[:300]
    return Problem(
        "GR904",
        f"no plan puts {len(tables)} tables ({total / 2**30:,.1f} GiB of weights) on "
        f"{cluster.ranks} ranks: {reason}",
        path="train.shard",
        help="more ranks, more memory (--hbm), or fewer wishes in train.shard",
    )
