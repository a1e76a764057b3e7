"""The batches of one rank: its rows of every batch that one process would have."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from graphrec.data import Counts, Encoder, Loader, Source
from graphrec.data.ahead import run_ahead
from graphrec.data.chunk import Array, Chunk
from graphrec.data.faults import bad_data
from graphrec.data.loader import cuts
from graphrec.data.remarks import check_limits
from graphrec.data.source import Raw, Unit
from graphrec.distributed.ranks import Ranks
from graphrec.distributed.spans import Division, Stretch, UnitRows, divide, evenly, stretches
from graphrec.nn.batch import Batch
from graphrec.recipe.model import Recipe

__all__ = ["Portion", "RankLoader"]

_AHEAD = 4


@dataclass
class Portion:
    """A rank's rows of a batch of `rows` rows; no rank has more than `stride` of them."""

    batch: Batch
    rows: int
    stride: int


class RankLoader(Loader):
    """Epochs of one process, divided among ranks: together they hand out the same batches.

    With `whole` the epoch is divided once, not block by block, and each rank cuts batches of its
    own: for evaluation, where only the rows matter. Every rank hands out equally many portions.
    """

    def __init__(
        self,
        recipe: Recipe,
        encoder: Encoder,
        source: Source,
        batch: int,
        ranks: Ranks,
        *,
        shuffle: bool,
        seed: int = 0,
        whole: bool = False,
    ) -> None:
        super().__init__(recipe, encoder, source, batch, shuffle=shuffle, seed=seed)
        self.ranks, self.whole = ranks, whole
        self._known, self._beside = _count(recipe, encoder, source, ranks)
        self._empty: Chunk | None = None

    @property
    def num_rows(self) -> int:
        return sum(unit.kept for unit in self._known)

    def portions(self, number: int, start_row: int = 0) -> Generator[Portion, None, None]:
        """This rank's portions of epoch `number` behind its first `start_row` rows.

        `counts` are this rank's own; those of all ranks make the epoch's. Raises DataError.
        """
        if not self.num_rows:
            raise bad_data("GR712", f"{self.source.name}: no rows are left to use")
        portions = self._portions(number, start_row)
        if self.workers:
            first = portions
            portions = run_ahead([lambda: first], 1, _AHEAD)
        if self.ranks.first:
            self.counts.add(self._beside)
            self.counts.add(self._passed(number, start_row))
        with closing(portions):
            while True:
                before = time.perf_counter()
                item = next(portions, None)
                self.wait_seconds += time.perf_counter() - before
                if item is None:
                    break
                portion, counts = item
                self.counts.add(counts)
                yield portion

    def gathered(self) -> Counts:
        """The counts of all ranks; DataError where they are beyond what the recipe allows."""
        total = Counts()
        for counts in self.ranks.gather(self.counts):
            total.add(counts)
        # What was read and not handed out stands before the place the run resumed at.
        total.skipped += total.read - total.trained - total.skipped - total.quarantined
        check_limits(self.encoder.recipe, total, self.source.name)
        return total

    # ---- blocks ---------------------------------------------------------------------------------

    def _portions(
        self, number: int, start_row: int
    ) -> Generator[tuple[Portion, Counts], None, None]:
        units, known = self._order(number)
        if self.whole:
            yield from self._own(units, known)
            return
        blocks = [b for b in _blocks(self.num_rows, self.block) if b[1] > start_row]
        with closing(self._read_blocks(units, known, blocks)) as chunks:
            for (start, stop), (chunk, counts) in zip(blocks, chunks, strict=True):
                place, rows = start // self.block, stop - start
                order = self._permutation(number, place, rows)
                first = max(0, start_row - start)
                for share in self._divide(rows, order, first):
                    counts.trained = len(share.index)
                    yield Portion(chunk.take(share.index).batch(), share.rows, share.most), counts
                    counts = Counts()

    def _divide(self, rows: int, order: Array | None, first: int) -> Iterator[Division]:
        return divide(rows, self.batch_size, self.ranks.size, self.ranks.rank, order, first)

    def _permutation(self, number: int, place: int, rows: int) -> Array | None:
        if not self.shuffle:
            return None
        return np.random.default_rng([self.seed, number, 1 + place]).permutation(rows)

    def _own(
        self, units: Sequence[Unit], known: Sequence[UnitRows]
    ) -> Generator[tuple[Portion, Counts], None, None]:
        """A rank's stretch of the whole epoch, in batches of its own."""
        ranks, step = self.ranks.size, -(-self.batch_size // self.ranks.size)
        edges = [self.num_rows * r // ranks for r in range(ranks + 1)]
        low, high = edges[self.ranks.rank], edges[self.ranks.rank + 1]
        most = max(np.diff(edges)) if ranks else 0
        pieces = [(low + a, min(low + a + step, high)) for a in range(0, int(most), step)]
        ranges = [[(a, max(a, b))] for a, b in pieces]
        with closing(self._read(units, known, ranges)) as chunks:
            for (chunk, counts), [(a, _)] in zip(chunks, ranges, strict=True):
                counts.trained = chunk.num_rows
                place = a - low
                shares = [max(0, min(step, int(n) - place)) for n in np.diff(edges)]
                yield Portion(chunk.batch(), sum(shares), max(shares)), counts

    def _read_blocks(
        self, units: Sequence[Unit], known: Sequence[UnitRows], blocks: Sequence[tuple[int, int]]
    ) -> Generator[tuple[Chunk, Counts], None, None]:
        mine = []
        for start, stop in blocks:
            parts = evenly(
                stop - start,
                self.batch_size,
                self.ranks.size,
                self.ranks.rank,
                mixed=self.shuffle,
            )
            mine.append([(start + a, start + b) for a, b in parts])
        return self._read(units, known, mine)

    def _read(
        self,
        units: Sequence[Unit],
        known: Sequence[UnitRows],
        ranges: Sequence[Sequence[tuple[int, int]]],
    ) -> Generator[tuple[Chunk, Counts], None, None]:
        """The rows of each list of ranges, as one chunk; several units are read at a time."""
        plans = [
            [stretch for a, b in parts for stretch in stretches(known, a, b)] for parts in ranges
        ]
        reads = [_merge(plan) for plan in plans]
        tasks: list[Callable[[], Iterator[tuple[Chunk, Counts]]]] = [
            partial(self._stretches, units[unit], parts) for plan in reads for unit, parts in plan
        ]
        sizes = [[sum(p.stop - p.start for p in parts) for _, parts in plan] for plan in reads]
        items = (
            run_ahead(tasks, self.workers, self.block, lambda item: item[0].num_rows)
            if self.workers
            else _one_by_one(tasks)
        )
        with closing(items):
            for wanted in sizes:
                chunks, counts = [], Counts()
                for size in wanted:
                    read = 0
                    while read < size:
                        chunk, found = next(items)
                        read += found.read
                        chunks.append(chunk)
                        counts.add(found)
                yield (Chunk.concat(chunks) if chunks else self._nothing()), counts

    def _stretches(self, unit: Unit, parts: Sequence[Stretch]) -> Iterator[tuple[Chunk, Counts]]:
        """The encoded rows of some stretches of a unit."""
        waiting = list(parts)
        start = 0
        for raw in self.source.read(unit):
            stop = start + raw.table.num_rows
            while waiting and waiting[0].start < stop:
                low, high = max(waiting[0].start, start), min(waiting[0].stop, stop)
                yield self.encoder.encode_raw(_slice(raw, low - start, high - start))
                if waiting[0].stop > stop:
                    break
                waiting.pop(0)
            if not waiting:
                return
            start = stop

    def _nothing(self) -> Chunk:
        """A chunk without rows, for a rank that has none of a block."""
        if self._empty is None:
            first = next(raw for unit in self.source.units() for raw in self.source.read(unit))
            self._empty, _ = self.encoder.encode_raw(_slice(first, 0, 0))
        return self._empty

    def _order(self, number: int) -> tuple[list[Unit], list[UnitRows]]:
        """The units of an epoch and what is known of them."""
        units = self.source.units()
        if not self.shuffle:
            return units, self._known
        order = np.random.default_rng([self.seed, number, 0]).permutation(len(units))
        return [units[i] for i in order], [self._known[i] for i in order]

    def _passed(self, number: int, start_row: int) -> Counts:
        """What was read before the place that the run resumes at."""
        _, known = self._order(number)
        rows = sum(s.stop - s.start for s in stretches(known, 0, start_row)) if start_row else 0
        return Counts(read=rows, skipped=min(rows, start_row), quarantined=max(0, rows - start_row))


def _blocks(rows: int, size: int) -> list[tuple[int, int]]:
    """Blocks of an epoch; a single row left over joins the last."""
    return [(start, stop) for start, stop in cuts(rows, size)]


def _merge(plan: Sequence[Stretch]) -> list[tuple[int, list[Stretch]]]:
    """Stretches by unit, neighbours joined, so that a unit is read once."""
    found: list[tuple[int, list[Stretch]]] = []
    for stretch in plan:
        if found and found[-1][0] == stretch.unit:
            last = found[-1][1][-1]
            if last.stop == stretch.start:
                found[-1][1][-1] = Stretch(stretch.unit, last.start, stretch.stop)
            else:
                found[-1][1].append(stretch)
        else:
            found.append((stretch.unit, [stretch]))
    return found


def _slice(raw: Raw, start: int, stop: int) -> Raw:
    index = None if raw.index is None else raw.index[start:stop]
    first = raw.start if raw.index is not None else raw.start + start
    return Raw(raw.table.slice(start, stop - start), raw.file, first, stop - start, 0, index)


def _one_by_one(
    tasks: Sequence[Callable[[], Iterator[tuple[Chunk, Counts]]]],
) -> Generator[tuple[Chunk, Counts], None, None]:
    for task in tasks:
        yield from task()


def _count(
    recipe: Recipe, encoder: Encoder, source: Source, ranks: Ranks
) -> tuple[list[UnitRows], Counts]:
    """How many rows each unit has and which are bad, and the counts of rows that nobody reads.

    Where the files do not say, the ranks read them once, each its units.
    """
    units = source.units()
    exact = recipe.data.bad_rows == "error"
    if exact and all(unit.num_rows is not None for unit in units):
        return [UnitRows(int(unit.num_rows or 0)) for unit in units], Counts()
    own: dict[int, tuple[UnitRows, Counts]] = {}
    for number in range(ranks.rank, len(units), ranks.size):
        own[number] = _count_unit(encoder, source, units[number], exact=exact)
    found: dict[int, tuple[UnitRows, Counts]] = {}
    for part in ranks.gather(own):
        found.update(part)
    beside = Counts()
    for number in range(len(units)):
        beside.add(found[number][1])
    return [found[number][0] for number in range(len(units))], beside


def _count_unit(
    encoder: Encoder, source: Source, unit: Unit, *, exact: bool
) -> tuple[UnitRows, Counts]:
    rows, bad, beside, all_counts = 0, [], Counts(), Counts()
    columns = list(encoder.plan.columns)[:1] if exact else None
    for raw in source.read(unit, columns):
        size = raw.table.num_rows
        beside.add(
            Counts(
                read=raw.read - size,
                quarantined=raw.malformed,
                skipped=raw.read - raw.malformed - size,
            )
        )
        if not exact:
            kept, counts = _kept(encoder, replace(raw, read=size, malformed=0))
            all_counts.add(counts)
            bad += [rows + int(place) for place in np.flatnonzero(~kept)]
        rows += size
    known = UnitRows(rows, tuple(bad))
    if not known.kept:  # no rank reads it
        beside.add(all_counts)
    return known, beside


def _kept(encoder: Encoder, raw: Raw) -> tuple[Array, Counts]:
    """Which rows of a chunk the encoder keeps."""
    chunk, counts = encoder.encode_raw(raw)
    kept = np.ones(raw.table.num_rows, bool)
    waiting = [(0, len(kept), chunk.num_rows)]
    while waiting:  # halve what has bad rows until they are alone
        start, stop, good = waiting.pop()
        if good == stop - start:
            continue
        if stop - start == 1:
            kept[start] = False
            continue
        middle = (start + stop) // 2
        left = encoder.encode_raw(_slice(raw, start, middle))[0].num_rows
        waiting += [(start, middle, left), (middle, stop, good - left)]
    return kept, counts
