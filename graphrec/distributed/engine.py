"""A generated module on many ranks: its tables sharded by torchrec, the rest of it under DDP.

`Step` is what torchrec sees: the collections look up what `inputs` holds for them, then `Model`
runs the generated module, whose `Embeddings` find there what they would have read themselves. That
shape lets `TrainPipelineSparseDist` exchange the ids of the next batch while this one computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchrec import KeyedJaggedTensor
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.train_pipeline import TrainPipelineSparseDist
from torchrec.distributed.types import ShardingEnv
from torchrec.streamable import Pipelineable

from graphrec.distributed.collections import (
    Reading,
    ShardedTable,
    TableCollection,
    collections_of,
    owners,
)
from graphrec.distributed.library import quiet
from graphrec.distributed.loader import Portion
from graphrec.distributed.planning import (
    Cluster,
    Plan,
    attach_optimizers,
    make_plan,
    sharders,
)
from graphrec.distributed.ranks import Ranks
from graphrec.distributed.shards import Shard, draw, shards_of
from graphrec.nn.batch import Batch, Jagged
from graphrec.nn.embedding import Embeddings
from graphrec.nn.tables import Lookup
from graphrec.recipe.training import Optimizer

__all__ = ["Engine", "Share", "Tables"]

SLOTS: Mapping[str, tuple[str, ...]] = {
    "adagrad": ("sum",),
    "rowwise_adagrad": ("sum",),
    "sgd": (),
    "adam": ("exp_avg", "exp_avg_sq"),
}
"""Names, in a checkpoint, of what FBGEMM keeps of every row."""


@dataclass
class Share(Pipelineable):  # type: ignore[misc]
    """One batch on its way through a rank: its rows, the ids of every collection.

    `norms` are the tasks' sums of row weights over all ranks, once `ready` has waited for them;
    `last` says whether the epoch ends with it.
    """

    batch: Batch
    rows: int
    inputs: dict[str, KeyedJaggedTensor]
    norms: Tensor = field(default_factory=lambda: torch.zeros(0))
    waiting: Any = None
    last: bool = False

    def ready(self) -> Tensor:
        """The norms, now that they are known."""
        if self.waiting is not None:
            self.waiting.wait()
            self.waiting = None
        return self.norms

    def to(self, device: torch.device, non_blocking: bool = False) -> Share:
        if device.type == "cpu":
            return self
        inputs = {name: kjt.to(device, non_blocking) for name, kjt in self.inputs.items()}
        return Share(self.batch.to(device), self.rows, inputs, self.norms, self.waiting, self.last)

    def record_stream(self, stream: torch.Stream) -> None:
        for kjt in self.inputs.values():
            kjt.record_stream(stream)
        for value in (*self.batch.features.values(), *self.batch.labels.values()):
            for tensor in _tensors(value):
                tensor.record_stream(stream)

    def pin_memory(self) -> Share:
        return self


class Tables:
    """All tables of a generated module that torchrec takes over, before any plan is made.

    The module was made `without_tables`; its `Embeddings` now read what `readings` hold.
    """

    def __init__(self, module: nn.Module, weighted: frozenset[str]) -> None:
        self.collections: list[TableCollection] = []
        self.readings: dict[str, Reading] = {}
        self.seeds: dict[str, int] = {}
        for name, embeddings in owners(module):
            reading = Reading()
            lookups = _lookups(embeddings)
            pieces = embeddings.give_body(reading)
            self.collections += collections_of(name, lookups, pieces, weighted)
            self.readings[name] = reading
            self.seeds[name] = embeddings.seed or 0
        self.by_name: dict[str, ShardedTable] = {
            table.name: table for c in self.collections for table in c.tables
        }

    def modules(self) -> nn.ModuleDict:
        """The collections as torchrec's modules, on the meta device."""
        return nn.ModuleDict({c.name: c.module() for c in self.collections})


class Model(nn.Module):
    """The generated module and what is made of its predictions; no table is below it."""

    def __init__(
        self,
        module: nn.Module,
        tables: Tables,
        extra: nn.Module | None,
        losses: Callable[[dict[str, Tensor], Share], Tensor],
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        super().__init__()
        self.module, self.extra = module, extra
        self._tables, self._losses, self._context = tables, losses, context
        self.predictions: dict[str, Tensor] = {}

    def forward(self, share: Share, read: dict[str, Any]) -> Tensor:
        for collection in self._tables.collections:
            columns = collection.outputs(read[collection.name], share.batch)
            self._tables.readings[collection.owner].columns.update(columns)
        with self._context():
            self.predictions = self.module(share.batch)
            if not self.training:
                return torch.zeros(())
            return self._losses(self.predictions, share)


class Step(nn.Module):
    """Look up, then compute: what torchrec traces to find the lookups."""

    def __init__(self, tables: nn.ModuleDict, model: Model) -> None:
        super().__init__()
        self.tables, self.model = tables, model
        self.names = tuple(tables)

    def forward(self, share: Share) -> tuple[Tensor, Tensor]:
        read = {name: self.tables[name](share.inputs[name]) for name in self.names}
        loss = self.model(share, read)
        return loss, loss


class _Pipeline(TrainPipelineSparseDist[Share, Tensor]):  # type: ignore[misc]
    """torchrec's pipeline; the optimizer it is given is the engine, which knows all of them."""

    def _backward(self, losses: Tensor) -> None:
        losses.backward()  # type: ignore[no-untyped-call]

    def run_alone(self, share: Share) -> None:
        """Forward one share now, between those that are on their way.

        Once the lookups are pipelined, a plain call of the model would wait for the wrong ids.
        """
        if self._pipelined_modules:
            context = self._create_context()
            self.start_sparse_data_dist(share, context)
            self.wait_sparse_data_dist(context)
            self._set_module_context(context)
        self._model.module(share)


class Engine:
    """The sharded model of one rank: `train` steps through shares, `predict` looks one up.

    `before` and `after` are called around every backward pass: the fused optimizers of the tables
    work inside it, at the rates that `set_factor` gave.
    """

    def __init__(
        self,
        module: nn.Module,
        tables: Tables,
        ranks: Ranks,
        batch: int,
        *,
        wishes: Mapping[str, str],
        lengths: Mapping[str, float],
        optimizer: Optimizer,
        rates: Mapping[str, float],
        losses: Callable[[dict[str, Tensor], Share], Tensor],
        before: Callable[[], None],
        after: Callable[[], None],
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
        extra: nn.Module | None = None,
    ) -> None:
        self.module, self.tables, self.ranks = module, tables, ranks
        self.before, self.after = before, after
        self._model = Model(module, tables, extra, losses, context)
        sharded = tables.modules()
        attach_optimizers(sharded, tables.by_name, rates, optimizer)
        step = Step(sharded, self._model)
        cluster = Cluster(ranks.size, ranks.device.type, ranks.local_size)
        self.plan: Plan = ranks.once(
            lambda: make_plan(
                step, tables.collections, cluster, batch, wishes, lengths, optimizer.name
            )
        )
        for name, parameter in sharded.named_parameters():
            if self.plan.ways()[name.removesuffix(".weight").split(".")[-1]][0] == "data_parallel":
                _without_optimizer(parameter)
        with quiet():
            self.dmp = DistributedModelParallel(
                step,
                env=ShardingEnv.from_process_group(dist.group.WORLD),
                device=ranks.device,
                plan=self.plan.sharding,
                sharders=sharders(),
            )
        self.shards: list[Shard] = list(shards_of(self.dmp, tables.by_name, SLOTS[optimizer.name]))
        mine = sum(part.rank == ranks.rank for part in self.plan.parts)
        assert len(self.shards) == mine, "every part of the plan is found, and nothing else"
        for shard in self.shards:
            draw(shard, tables.seeds[shard.table.owner])
        self._groups = [(group, group["lr"]) for group in self.dmp.fused_optimizer.param_groups]
        self._pipeline = _Pipeline(self.dmp, self, ranks.device)

    # ---- batches --------------------------------------------------------------------------------

    def share(self, portion: Portion) -> Share:
        """A portion with the ids that its collections look up."""
        inputs = {c.name: c.input(portion.batch, portion.stride) for c in self.tables.collections}
        return Share(portion.batch, portion.rows, inputs)

    def train(self, shares: Iterator[Share]) -> bool:
        """One update with the next share; False when there is none."""
        self.dmp.train()
        try:
            with quiet():
                self._pipeline.progress(shares)
        except StopIteration:
            return False
        return True

    @property
    def predictions(self) -> dict[str, Tensor]:
        """Those of the share that is computed now, or was last."""
        return self._model.predictions

    def predict(self, share: Share) -> dict[str, Tensor]:
        """Predictions for one share, without gradients; between two epochs or updates."""
        self.dmp.eval()
        with torch.no_grad(), quiet():
            self._pipeline.run_alone(share.to(self.ranks.device))
        return self._model.predictions

    def drain(self) -> None:
        """Forget the shares that are on their way: the run ends before they are trained."""
        self._pipeline.reset()

    # ---- what the pipeline takes for its optimizer ----------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.before()

    def step(self) -> None:
        self.after()

    def set_factor(self, factor: float) -> None:
        """Scale the tables' rates for the updates to come."""
        for group, rate in self._groups:
            group["lr"] = rate * factor
        self.dmp.fused_optimizer.step()  # FBGEMM takes the rate; the update itself is in backward


def _without_optimizer(parameter: nn.Parameter) -> None:
    """A replicated table is not updated in backward, where its gradient is not yet everybody's."""
    for name in ("_in_backward_optimizers", "_optimizer_classes", "_optimizer_kwargs"):
        if hasattr(parameter, name):
            delattr(parameter, name)


def _lookups(embeddings: Embeddings) -> Sequence[Lookup]:
    groups = [packed for packed in embeddings.table_groups if packed.trainable]
    lookups = [c for packed in groups for c in (*packed.singles, *packed.bags)]
    lookups += [c for packed in groups for own in packed.sequences.values() for c in own]
    return sorted(lookups, key=lambda lookup: lookup.column)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Jagged):
        yield from _tensors(value.values)
        yield value.lengths
        if value.weights is not None:
            yield value.weights
