"""What a plan of tables over ranks says: the machines, and every part of a table with its cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torchrec.distributed.planner import Topology
from torchrec.distributed.planner.shard_estimators import _calculate_shard_io_sizes
from torchrec.distributed.planner.types import (
    HardwareConfig,
    KernelConfig,
    ShardingOption,
    TopologyFactory,
    TrainerConfig,
)
from torchrec.distributed.types import ShardingPlan
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad

from graphrec.distributed.collections import ShardedTable

__all__ = ["Cluster", "ELEMENT", "Part", "Plan", "parts_of"]

ELEMENT = 4  # bytes of fp32, in which tables and their optimizer state are


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


def parts_of(
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
        output_data_type_size=ELEMENT,
        num_poolings=[1.0] * option.num_inputs,
        is_pooled=option.is_pooled,
    )
    fused = option.sharding_type != "data_parallel"
    classes = getattr(option.tensor, "_optimizer_classes", [None])
    for shard, into, out in zip(option.shards, inputs, outputs, strict=True):
        rows, columns = shard.size
        weights = rows * columns * ELEMENT
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
    return rows * each.get(optimizer, 0) * ELEMENT if optimizer is not None else 0
