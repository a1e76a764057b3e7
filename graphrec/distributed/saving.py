"""Checkpoints of many ranks: one folder, rank 0's manifest, a file of tables from every rank."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from graphrec.distributed.collections import ShardedTable
from graphrec.distributed.ranks import Consequence, Ranks
from graphrec.distributed.shards import Shard
from graphrec.ground.errors import CheckpointError
from graphrec.train import checkpoint
from graphrec.train.manifest import MODEL, OPTIM, Checkpoint, Position
from graphrec.train.saving import Saver, State
from graphrec.train.slices import Slice, is_part, part_name
from graphrec.train.tensors import FileFacts, write_tensors

__all__ = ["Parts", "RankSaver", "load_shards", "model_parts", "optim_parts", "plain"]


class RankSaver(Saver):
    """Writes checkpoints in place, all ranks together, when rank 0's clock says so."""

    def __init__(self, like: Saver, ranks: Ranks, shards: Sequence[Shard]) -> None:
        super().__init__(like.parent, like.recipe, like.keep, like.minutes)
        self.run_files = like.run_files
        self.ranks, self.shards = ranks, shards
        self.clock = (0.0, False)
        """Seconds since the last one and whether one is due, as rank 0 had them in this update."""

    @property
    def since(self) -> float:
        return self.clock[0]

    @property
    def due(self) -> bool:
        return self.clock[1]

    def own_clock(self) -> tuple[float, float]:
        """What this rank's clock says, for `clock` of all."""
        return super().since, float(super().due)

    def save(self, state: State, position: Position, *, wait: bool) -> None:
        """Write a checkpoint; EnvironmentFault (GR803) where the disk of any rank takes it not."""
        begin = time.perf_counter()
        self._last = begin
        if self.ranks.first:
            checkpoint.save(
                self.parent, *state, position, self.recipe, self.run_files, self._write_parts
            )
            checkpoint.prune(self.parent, self.keep, position.best_step)
        else:
            self._write_parts(None)
        self._took = time.perf_counter() - begin
        self.waited += self._took
        self.writing += self._took
        self.written += 1

    def _write_parts(self, folder: Path | None) -> dict[str, FileFacts]:
        """Every rank's files in the folder that rank 0 has made; their facts."""
        ranks = self.ranks
        place = Path(ranks.broadcast(str(folder) if folder is not None else None))
        facts: dict[str, FileFacts] = {}
        fault: tuple[int, str] | None = None
        try:
            for file, tensors in ((MODEL, model_parts), (OPTIM, optim_parts)):
                parts = tensors(self.shards, first=ranks.first)
                if parts:
                    name = part_name(file, ranks.rank, ranks.size)
                    facts[name] = write_tensors(place / name, parts)
        except OSError as error:
            fault = error.errno or 0, f"{ranks.name}: {error.strerror or error}"
        facts_of: dict[str, FileFacts] = {}
        for theirs, their_fault in ranks.gather((facts, fault)):
            if their_fault is not None:
                raise OSError(*their_fault) if ranks.first else Consequence("rank 0 tells it")
            facts_of.update(theirs)
        return facts_of


def model_parts(shards: Sequence[Shard], *, first: bool) -> dict[str, Tensor]:
    """What this rank saves of the tables; replicas are saved by the first rank."""
    return {
        str(_slice(shard, shard.table.key, shard.table.dim)): shard.own(shard.weight)
        for shard in shards
        if (first or not shard.replica) and shard.columns
    }


def optim_parts(shards: Sequence[Shard], *, first: bool) -> dict[str, Tensor]:
    """What this rank saves of the tables' optimizer."""
    parts = {}
    for shard in shards:
        if (first or not shard.replica) and shard.columns:
            for slot, values in shard.state.items():
                part = _slice(shard, _state_key(shard, slot), values.shape[1])
                parts[str(part)] = shard.own(values) * shard.scale(slot)
    return parts


def _slice(shard: Shard, key: str, columns: int) -> Slice:
    table = shard.table
    rows = (shard.row, shard.row + shard.rows)
    if columns == 1 and table.dim != 1:
        return Slice(key, *rows, 0, 1, (table.rows, 1))
    first = shard.column
    return Slice(key, *rows, first, first + shard.columns, (table.rows, table.dim))


def _state_key(shard: Shard, slot: str) -> str:
    name = shard.table.piece.key.removesuffix(".weight")
    return f"optim/sparse/{shard.table.owner}.{name}/{slot}"


class Parts:
    """Tensors of a checkpoint, read key by key and slice by slice, from any number of files.

    Every rank checks its share of the files; CheckpointError where one of them is damaged.
    """

    def __init__(self, start: Checkpoint, ranks: Ranks) -> None:
        self._places: dict[str, list[tuple[Path, str, Slice | None]]] = {}
        self._check(start, ranks)
        for file in (MODEL, OPTIM):
            for name in start.files:
                if name == file or is_part(name, file):
                    self._index(start.folder / name)

    def _check(self, start: Checkpoint, ranks: Ranks) -> None:
        error: CheckpointError | None = None
        for number, name in enumerate(sorted(start.files)):
            if number % ranks.size == ranks.rank and error is None:
                try:
                    start.check(name)
                except CheckpointError as raised:
                    error = raised
        for theirs in ranks.gather(error and error.problems):
            if theirs:
                raise CheckpointError(theirs) if ranks.first else Consequence("rank 0 tells it")

    def _index(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  (it is no map)
                part = Slice.of(name)
                key = name if part is None else part.key
                self._places.setdefault(key, []).append((path, name, part))

    def keys(self) -> Iterator[str]:
        """Names of all tensors, those in parts included."""
        return iter(self._places)

    def whole(self, key: str) -> Tensor:
        """A tensor that is in one piece."""
        ((path, name, _),) = self._places[key]
        with safe_open(path, "pt") as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor

    def read(self, key: str, into: Tensor, row: int, column: int) -> None:
        """Fill `into` [rows, columns] with the tensor's entries from that row and column on."""
        if key not in self._places:
            raise KeyError(f"`{key}` is missing")
        filled = 0
        for path, name, part in self._places[key]:
            with safe_open(path, "pt") as file:
                source: Any = file.get_slice(name)
                shape = source.get_shape()
                part = part or Slice(key, 0, shape[0], 0, shape[1], (shape[0], shape[1]))
                low = max(row, part.start)
                high = min(row + into.shape[0], part.stop)
                left = max(column, part.first)
                right = min(column + into.shape[1], part.last)
                if low < high and left < right:
                    rows = slice(low - part.start, high - part.start)
                    values = source[rows, left - part.first : right - part.first]
                    target = into[low - row : high - row, left - column : right - column]
                    target.copy_(values)
                    filled += values.numel()
        if filled != into.numel():
            raise ValueError(f"`{key}` has another shape than this model's")


@torch.no_grad()
def load_shards(parts: Parts, shards: Sequence[Shard]) -> None:
    """Fill this rank's parts of the tables and of their optimizer's state."""
    for shard in shards:
        if not shard.columns:
            continue
        parts.read(shard.table.key, shard.own(shard.weight), shard.row, shard.column)
        for slot, values in shard.state.items():
            own = shard.own(values)
            column = shard.column if own.shape[1] > 1 else 0
            parts.read(_state_key(shard, slot), own, shard.row, column)
            own.div_(shard.scale(slot))


def plain(parts: Parts, tables: Iterable[ShardedTable]) -> dict[str, Tensor]:
    """All tensors but those of tables that ranks share."""
    weights = {table.key for table in tables}
    states = tuple(f"optim/sparse/{key.removesuffix('.weight')}/" for key in weights)
    return {
        key: parts.whole(key)
        for key in parts.keys()  # noqa: SIM118  (it is no map)
        if key not in weights and not key.startswith(states)
    }
