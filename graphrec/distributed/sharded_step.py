"""What torchrec runs of a generated module: its lookups, then the module on what they gave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torchrec import KeyedJaggedTensor
from torchrec.distributed.train_pipeline import TrainPipelineSparseDist
from torchrec.streamable import Pipelineable

from graphrec.distributed.collections import (
    Reading,
    ShardedTable,
    TableCollection,
    collections_of,
    owners,
)
from graphrec.nn.batch import Batch, Jagged
from graphrec.nn.embedding import Embeddings
from graphrec.nn.tables import Lookup

__all__ = ["Model", "Pipeline", "Share", "Step", "Tables"]


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


class Pipeline(TrainPipelineSparseDist[Share, Tensor]):  # type: ignore[misc]
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
