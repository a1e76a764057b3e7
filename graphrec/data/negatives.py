"""What the rows of a batch are compared with: drawn items, the batch's own, hard negatives.

Everything is a function of (seed, epoch, row): a run that goes on in the middle of an epoch draws
what the unbroken run draws.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graphrec.data.cells import numbers_of
from graphrec.data.chunk import NULL_KEY, Array, Chunk, offsets_of
from graphrec.data.dataset import open_files
from graphrec.data.encoder import Encoder
from graphrec.data.faults import bad_data
from graphrec.data.items import Items
from graphrec.data.plan import Plan
from graphrec.data.source import Source
from graphrec.recipe.retrieval import RETRIEVAL, Candidates

if TYPE_CHECKING:
    from graphrec.nn.batch import Compared

__all__ = ["Negatives"]

_SALT = 0x6E6567  # apart from the seeds of the loader's order


class Negatives:
    """Draws the items that each batch of training rows is compared with.

    With S draws with replacement by the chances q and, `in_batch`, B rows of items with shares p
    of the training rows, an item is among the shared negatives with the chance
    1 - (1 - q)^S (1 - p)^B. Its logarithm is what the loss subtracts.
    """

    def __init__(self, encoder: Encoder, items: Items, train: Source, seed: int) -> None:
        retrieval = encoder.recipe.retrieval
        assert retrieval is not None
        self.items, self.seed, self.settings = items, seed, retrieval.candidates
        self.labelled = retrieval.label is not None
        counts = _counts(encoder, items, train)
        self._shares = counts / max(counts.sum(), 1)
        self._chances = _chances(self.settings, items, counts)
        self._ends = np.cumsum(self._chances)
        self._ends[-1] = max(self._ends[-1], 1.0)
        self._hard = _HardEdges(encoder, items) if self.settings.hard is not None else None

    def positive(self, chunk: Chunk) -> Array:
        """Which rows [B] teach: those with an item, and one that was wanted."""
        wanted: Array = chunk.columns[self.items.key] != NULL_KEY
        if self.labelled:
            wanted &= chunk.labels[RETRIEVAL] > 0
        return wanted

    def compared(self, chunk: Chunk, epoch: int, row: int) -> Compared:
        """What the rows of a batch that begins at `row` of an epoch are compared with."""
        import torch

        from graphrec.nn.batch import Compared

        random = np.random.default_rng([self.seed, _SALT, epoch, row])
        counts = self.positive(chunk)
        own = self.items.own(chunk.columns, counts)
        wanted, settings = own[counts], self.settings
        drawn = np.searchsorted(self._ends, random.random(settings.sample), side="right")
        hard = self._hard.draw(chunk, counts, random, settings.hard_sample) if self._hard else _NONE
        every = np.unique(np.concatenate([wanted, drawn, hard[:, 1]]))
        every = every if len(every) else np.zeros(1, np.int64)  # a batch that teaches nothing
        shared = np.isin(every, drawn)
        if settings.in_batch:
            shared |= np.isin(every, wanted)
        chance = np.log1p(-self._chances[every].clip(max=1 - 1e-12)) * settings.sample
        if settings.in_batch:
            chance += np.log1p(-self._shares[every].clip(max=1 - 1e-12)) * len(wanted)
        chance = -np.expm1(chance)
        by_chance = (chance > 0) & (shared | np.isin(every, wanted))
        log_q = np.log(np.where(by_chance, chance, 1.0))
        places = np.searchsorted(every, np.where(counts, own, every[0]))
        hidden = self._within(every, self.items.seen(chunk.features))
        hard = self._within(every, hard)
        return Compared(
            self.items.batch(every),
            torch.from_numpy(places.astype(np.int64)),
            torch.from_numpy(shared),
            torch.from_numpy(log_q.astype(np.float32)),
            torch.from_numpy(hard),
            torch.from_numpy(hidden),
        )

    @staticmethod
    def _within(every: Array, pairs: Array) -> Array:
        """Pairs of a row and a place, as a row and the number among `every`; others are dropped."""
        at = np.searchsorted(every, pairs[:, 1]).clip(max=len(every) - 1)
        within: Array = np.stack([pairs[:, 0], at], axis=1)[every[at] == pairs[:, 1]]
        return within


_NONE = np.empty((0, 2), np.int64)


def _counts(encoder: Encoder, items: Items, train: Source) -> Array:
    """How many training rows want each item [N]."""
    reader, counts = encoder.targets_only(), np.zeros(len(items), np.float64)
    for unit in train.units():
        for raw in train.read(unit, list(reader.plan.columns)):
            chunk, _ = reader.encode_raw(raw)
            wanted = chunk.columns[items.key]
            if RETRIEVAL in chunk.labels:
                wanted = wanted[chunk.labels[RETRIEVAL] > 0]
            places = items.find(wanted)
            counts += np.bincount(places[places >= 0], minlength=len(items))
    return counts


def _chances(settings: Candidates, items: Items, counts: Array) -> Array:
    """The chance of each item [N] in one draw."""
    if settings.by == "uniform":
        weights = np.ones(len(items))
    elif settings.by == "frequency":
        weights = counts + 1.0
    else:
        weights = _weights(settings.by, items)
    chances: Array = weights / weights.sum()
    return chances


def _weights(column: str, items: Items) -> Array:
    """The numbers of a column of the file of items; DataError unless all are above 0."""
    bad: list[str] = []
    parts = []
    for unit in items.source.units():
        for raw in items.source.read(unit, [column]):
            array = raw.table.column(column)
            parts.append(
                numbers_of(
                    array, np.nan, column, lambda mask, why: bad.append(why) if mask.any() else None
                )
            )
    weights = np.concatenate(parts).astype(np.float64)
    if bad or len(weights) != len(items) or not ((weights > 0) & np.isfinite(weights)).all():
        what = (
            f"`{column}` of {items.source.name} is to weigh items: every one needs a number above 0"
        )
        raise bad_data("GR716", what, "or draw them by: uniform, or by: frequency")
    return weights


class _HardEdges:
    """Items that are negatives of the rows of one query, from a file with a row for each pair."""

    def __init__(self, encoder: Encoder, items: Items) -> None:
        settings = items.recipe.retrieval.candidates if items.recipe.retrieval else None
        assert settings is not None and settings.hard is not None and settings.hard_by is not None
        self.by = settings.hard_by
        plan = edge_plan(settings)
        source = open_files(items.recipe, (settings.hard,), Path(), plan)
        reader = encoder.for_plan(plan)
        queries, places = [], []
        for unit in source.units():
            for raw in source.read(unit):
                chunk, _ = reader.encode_raw(raw)
                queries.append(chunk.columns[self.by])
                places.append(items.find(chunk.columns[items.key]))
        query, place = np.concatenate(queries), np.concatenate(places)
        lost = int(np.count_nonzero(place < 0))
        if lost:
            what = f"`{items.key}` of {lost:,} rows of {source.name} is not among the items"
            raise bad_data("GR716", what, "name items of the file of items only")
        known = query != NULL_KEY
        query, place = query[known], place[known]
        order = np.argsort(query, kind="stable")
        self._places = place[order]
        self._queries, number = np.unique(query[order], return_counts=True)
        self._offsets = offsets_of(number)

    def draw(self, chunk: Chunk, counts: Array, random: np.random.Generator, most: int) -> Array:
        """Pairs [M, 2] of a row and the place of one of its hard negatives."""
        at = np.searchsorted(self._queries, chunk.columns[self.by])
        at = at.clip(max=max(len(self._queries) - 1, 0))
        pairs = [_NONE]
        for row in np.flatnonzero(counts):
            if not len(self._queries) or self._queries[at[row]] != chunk.columns[self.by][row]:
                continue
            places = self._places[self._offsets[at[row]] : self._offsets[at[row] + 1]]
            if len(places) > most:
                places = random.choice(places, most, replace=False)
            pairs.append(np.stack([np.full(len(places), row), places], axis=1))
        return np.concatenate(pairs)


def edge_plan(settings: Candidates) -> Plan:
    """What a file of hard negatives has: the query and the item of each."""
    columns = (str(settings.hard_by), settings.key)
    uses = dict.fromkeys(columns, "retrieval.candidates.hard")
    return Plan((), (), {}, {column: column for column in columns}, {}, uses)
