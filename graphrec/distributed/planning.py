"""torchrec's planner: which ranks hold which part of which table, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.distributed.optim.apply_optimizer_in_backward import (
    _apply_optimizer_in_backward as apply_optimizer_in_backward,
)
from torchrec.distributed.embedding import EmbeddingCollectionSharder
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology
from torchrec.distributed.planner.proposers import GreedyProposer, UniformProposer
from torchrec.distributed.planner.shard_estimators import _calculate_shard_io_sizes
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.distributed.planner.types import (
    HardwareConfig,
    KernelConfig,
    PlannerError,
    ShardingOption,
    Stats,
    TopologyFactory,
    TrainerConfig,
)
from torchrec.distributed.types import ModuleSharder, ShardingPlan
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad

from graphrec.distributed.collections import ShardedTable, TableCollection
from graphrec.distributed.library import quiet
from graphrec.ground.errors import Problem, RecipeError
from graphrec.recipe.training import Optimizer

__all__ = ["Cluster", "Part", "Plan", "attach_optimizers", "make_plan", "sharders"]

WAYS = ("table_wise", "row_wise", "column_wise", "table_row_wise", "data_parallel")
"""torchrec's ways of sharding that a recipe may name, beside `auto`."""

_ELEMENT = 4  # bytes of fp32, in which tables and their optimizer state are
_SMALLEST_COLUMNS = 4  # of a shard: FBGEMM's tables have widths that are multiples of 4
MARGIN = 0.15  # of the memory is not the planner's: the dense part, activations


@dataclass(frozen=True)
class Cluster:
    """The machines of a plan: `hbm` and `ddr` are bytes of one rank, None: torchrec's defaults."""

    ranks: int
    device: str = "cpu"
    per_host: int | None = None
    hbm: int | None = None
    ddr: int | None = None

    @property
    def local(self) -> int:
        """Ranks of one host."""
        return self.per_host or min(self.ranks, 8)

    @property
    def hosts(self) -> int:
        return -(-self.ranks // self.local)

    @property
    def room(self) -> int:
        """Bytes of a rank's memory that tables are planned for."""
        device = self.topology().devices[0].storage
        return int(device.hbm if self.device == "cuda" else device.ddr)

    def topology(self) -> Topology:
        """torchrec's picture of it."""
        trainer = TrainerConfig(
            world_size=self.ranks,
            local_world_size=self.local,
            hbm_cap_bytes=self.hbm,
            ddr_cap_bytes=self.ddr,
        )
        return TopologyFactory.create_topology(
            trainer, HardwareConfig(), KernelConfig(compute_device=self.device)
        )


@dataclass(frozen=True)
class Part:
    """A part of a table on one rank: rows x columns, bytes by use, the planner's ms per step."""

    table: ShardedTable
    way: str
    kernel: str
    rank: int
    rows: int
    columns: int
    weights: int
    optimizer: int
    input: int
    output: int
    storage: int
    cost: float


@dataclass(frozen=True)
class Plan:
    """What the planner decided, part by part; `sharding` is torchrec's own form of it."""

    cluster: Cluster
    batch: int
    parts: tuple[Part, ...]
    sharding: ShardingPlan

    def ways(self) -> dict[str, tuple[str, str]]:
        """Sharding and kernel by torchrec's name of the table."""
        return {part.table.name: (part.way, part.kernel) for part in self.parts}


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
    parts = [part for option in record.options for part in _parts(option, tables, cluster, local)]
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


def _parts(
    option: ShardingOption, tables: Mapping[str, ShardedTable], cluster: Cluster, batch: int
) -> Iterator[Part]:
    table = tables[option.name]
    sizes = [shard.size for shard in option.shards]
    inputs, outputs = _calculate_shard_io_sizes(
        sharding_type=option.sharding_type,
        batch_sizes=[batch] * option.num_inputs,
        world_size=cluster.ranks,
        local_world_size=cluster.local,
        input_lengths=option.input_lengths,
        emb_dim=option.tensor.shape[1],
        shard_sizes=sizes,
        input_data_type_size=8,
        output_data_type_size=_ELEMENT,
        num_poolings=[1.0] * option.num_inputs,
        is_pooled=option.is_pooled,
    )
    fused = option.sharding_type != "data_parallel"
    classes = getattr(option.tensor, "_optimizer_classes", [None])
    for shard, into, out in zip(option.shards, inputs, outputs, strict=True):
        rows, columns = shard.size
        weights = rows * columns * _ELEMENT
        storage = shard.storage
        assert shard.rank is not None and shard.perf is not None and storage is not None
        total = storage.hbm + storage.ddr
        state = _state_bytes(classes[0] if fused else classes[0], rows, columns)
        yield Part(
            table,
            option.sharding_type,
            option.compute_kernel,
            shard.rank,
            rows,
            columns,
            weights,
            state,
            into,
            out,
            total,
            shard.perf.total,
        )


def _state_bytes(optimizer: type | None, rows: int, columns: int) -> int:
    """Bytes of optimizer state of a part."""
    each = {torch.optim.Adagrad: columns, RowWiseAdagrad: 1, torch.optim.Adam: 2 * columns}
    return rows * each.get(optimizer, 0) * _ELEMENT if optimizer is not None else 0


def _unplannable(
    error: PlannerError, tables: Mapping[str, ShardedTable], cluster: Cluster
) -> Problem:
    total = sum(table.rows * table.width * _ELEMENT for table in tables.values())
    reason = " ".join(str(error).split())[:300]
    return Problem(
        "GR904",
        f"no plan puts {len(tables)} tables ({total / 2**30:,.1f} GiB of weights) on "
        f"{cluster.ranks} ranks: {reason}",
        path="train.shard",
        help="more ranks, more memory (--hbm), or fewer wishes in train.shard",
    )
