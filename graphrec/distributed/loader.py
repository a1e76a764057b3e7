"""The batches of one rank: its rows of every batch that one process would have."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from graphrec.data import Counts, Encoder, Loader, Source
from graphrec.data.ahead import run_ahead
from graphrec.data.chunk import Array, Chunk
from graphrec.data.faults import bad_data
from graphrec.data.remarks import check_limits
from graphrec.data.source import Raw, Unit
from graphrec.distributed.ranks import Ranks
from graphrec.distributed.row_order import RowEncoder, RowSource
from graphrec.distributed.spans import (
    Division,
    UnitRows,
    bounds,
    divide_batch,
    divide_block,
    stretches,
    unit_of,
)
from graphrec.nn.batch import Batch
from graphrec.recipe.model import Recipe

__all__ = ["Portion", "RankLoader"]

_AHEAD = 4  # portions made while a step runs, as in data/loader.py
_READ = 65_536  # rows that a rank reads at a time, where no block of shuffled rows says it


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
        self.parts = source.units()
        turn: int | None = getattr(self, "_turn", None) if self.shuffle else None
        self._known, self._beside = _count(recipe, encoder, source, ranks, turn)
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
            self.counts.add(Counts(read=start_row, skipped=start_row))
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
        total.skipped += total.read - total.trained - total.skipped - total.quarantined
        check_limits(self.encoder.recipe, total, self.source.name)
        return total

    # ---- which rows -----------------------------------------------------------------------------

    def _portions(
        self, number: int, start_row: int
    ) -> Generator[tuple[Portion, Counts], None, None]:
        groups = self._own() if self.whole else self._groups(number, start_row)
        for shares in groups:
            wanted = np.sort(np.concatenate([share.places for share in shares]))
            chunk, counts = self._read(wanted)
            for share in shares:
                counts.trained = len(share.places)
                rows = chunk.take(np.searchsorted(wanted, share.places))
                yield Portion(rows.batch(), share.rows, share.most), counts
                counts = Counts()

    def _groups(self, number: int, start_row: int) -> Iterator[list[Division]]:
        """The shares of a block's batches at a time; of some batches, where nothing is mixed."""
        size = self.block if self.shuffle else max(_READ, self.batch_size)
        held: list[Array] = []
        # A block is divided as a whole, also where a run goes on in its middle: or its rows would
        # be other ranks' than in the unbroken run.
        position = start_row // size * size
        passed = start_row - position
        # The order of rows is the loader's own business: it is asked for the rows' numbers.
        order = Loader(
            self.encoder.recipe,
            RowEncoder(self.encoder.recipe, self._known),  # type: ignore[arg-type]
            RowSource(self.source, self.parts, self._known),
            self.batch_size,
            shuffle=self.shuffle,
            seed=self.seed,
            workers=0,
        )
        with closing(order.epoch(number, position)) as batches:
            for batch in batches:
                held.append(batch.features["place"].numpy())  # type: ignore[union-attr]
                before, position = position, position + len(held[-1])
                if position // size > before // size:
                    yield from self._divided(held, passed)
                    held, passed = [], 0
        if held:
            yield from self._divided(held, passed)

    def _divided(self, batches: list[Array], passed: int) -> Iterator[list[Division]]:
        """The shares behind the first `passed` rows, if there are any."""
        ranks, rank = self.ranks.size, self.ranks.rank
        shares = (
            divide_block(batches, ranks, rank)
            if self.shuffle
            else [divide_batch(rows, ranks, rank) for rows in batches]
        )
        ends = np.cumsum([share.rows for share in shares])
        left = [share for share, end in zip(shares, ends, strict=True) if end > passed]
        if left:
            yield left

    def _own(self) -> Iterator[list[Division]]:
        """A rank's stretch of the whole epoch, in batches of its own."""
        ranks, step = self.ranks.size, -(-self.batch_size // self.ranks.size)
        edges = bounds(self.num_rows, ranks)
        low, high = int(edges[self.ranks.rank]), int(edges[self.ranks.rank + 1])
        sizes = np.diff(edges)
        for start in range(0, int(sizes.max()), step):
            first = min(low + start, high)
            places = [np.zeros(0, np.int64)]
            places += stretches(self._known, first, min(first + step, high))
            shares = np.clip(sizes - start, 0, step)
            yield [Division(np.concatenate(places), int(shares.sum()), int(shares.max()))]

    # ---- reading --------------------------------------------------------------------------------

    def _read(self, places: Array) -> tuple[Chunk, Counts]:
        """The rows at these rising places; several units are read at a time."""
        units, rows = unit_of(places)
        cuts = np.flatnonzero(np.diff(units, prepend=-1))
        tasks: list[Callable[[], Iterator[tuple[Chunk, Counts]]]] = [
            partial(self._rows_of, self.parts[int(units[start])], rows[start:stop])
            for start, stop in zip(cuts, [*cuts[1:], len(rows)], strict=True)
        ]
        items = (
            run_ahead(tasks, self.workers, self.block, lambda item: item[0].num_rows)
            if self.workers
            else (item for task in tasks for item in task())
        )
        chunks, counts = [], Counts()
        with closing(items):
            for chunk, counted in items:
                chunks.append(chunk)
                counts.add(counted)
        return (Chunk.concat(chunks) if chunks else self._nothing()), counts

    def _rows_of(self, unit: Unit, rows: Array) -> Iterator[tuple[Chunk, Counts]]:
        """The encoded rows of a unit, given by their rising numbers."""
        start = taken = 0
        for raw in self.source.read(unit):
            stop = start + raw.table.num_rows
            end = int(np.searchsorted(rows, stop))
            if end > taken:
                yield self.encoder.encode_raw(_pick(raw, rows[taken:end] - start))
            start, taken = stop, end
            if taken == len(rows):
                return

    def _nothing(self) -> Chunk:
        """A chunk without rows, for a rank that has none of a block."""
        if self._empty is None:
            first = next(raw for unit in self.parts for raw in self.source.read(unit))
            self._empty, _ = self.encoder.encode_raw(_pick(first, np.zeros(0, np.int64)))
        return self._empty


def _pick(raw: Raw, rows: Array) -> Raw:
    """Some rows of a chunk, by their rising numbers in it."""
    index = raw.start + rows if raw.index is None else raw.index[rows]
    first, size = (int(rows[0]), len(rows)) if len(rows) else (0, 0)
    if size and int(rows[-1]) == first + size - 1:
        table = raw.table.slice(first, size)
    else:
        table = raw.table.take(rows)
    return replace(raw, table=table, read=size, malformed=0, index=index)


def _count(
    recipe: Recipe, encoder: Encoder, source: Source, ranks: Ranks, turn: int | None
) -> tuple[list[UnitRows], Counts]:
    """What is known of each unit, and the counts of rows that no rank will read.

    Where the files do not say, the ranks read them once, each its units.
    """
    units = source.units()
    exact = recipe.data.bad_rows == "error"
    if exact and turn is None and all(unit.num_rows is not None for unit in units):
        return [UnitRows(((int(unit.num_rows or 0), 1.0),)) for unit in units], Counts()
    own = {
        number: _count_unit(encoder, source, units[number], turn, exact=exact)
        for number in range(ranks.rank, len(units), ranks.size)
    }
    counted: dict[int, tuple[UnitRows, Counts]] = {}
    for part in ranks.gather(own):
        counted.update(part)
    beside = Counts()
    for number in range(len(units)):
        beside.add(counted[number][1])
    return [counted[number][0] for number in range(len(units))], beside


def _count_unit(
    encoder: Encoder, source: Source, unit: Unit, turn: int | None, *, exact: bool
) -> tuple[UnitRows, Counts]:
    chunks: list[tuple[int, float]] = []
    rows, bad, beside = 0, list[int](), Counts()
    columns = list(encoder.plan.columns)[:1] if exact else None
    how: dict[str, Any] = {} if turn is None else {"rows": turn}
    for raw in source.read(unit, columns, **how):
        size = raw.table.num_rows
        lost = raw.read - size
        beside.add(Counts(lost, 0, lost - raw.malformed, raw.malformed))
        if not exact:
            for place, counts in _bad_rows(encoder, replace(raw, read=size, malformed=0)):
                bad.append(rows + place)
                beside.add(counts)
        rows += size
        chunks.append((size, float(getattr(raw, "done", 1.0))))
    return UnitRows(tuple(chunks), tuple(sorted(bad))), beside


def _bad_rows(encoder: Encoder, raw: Raw) -> Iterator[tuple[int, Counts]]:
    """The rows of a chunk that the encoder leaves out, each with what is counted of it."""
    size = raw.table.num_rows
    waiting = [(0, size, encoder.encode_raw(raw)[0].num_rows)]
    while waiting:  # halve what has bad rows until they are alone
        start, stop, good = waiting.pop()
        if good == stop - start:
            continue
        if stop - start == 1:
            yield start, encoder.encode_raw(_pick(raw, np.array([start])))[1]
            continue
        middle = (start + stop) // 2
        left = encoder.encode_raw(_pick(raw, np.arange(start, middle)))[0].num_rows
        waiting += [(start, middle, left), (middle, stop, good - left)]
