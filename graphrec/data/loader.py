"""Batches of an epoch: shuffled across files, row groups and rows, read ahead by threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from graphrec.data.ahead import run_ahead, run_together
from graphrec.data.chunk import Chunk
from graphrec.data.counts import Counts
from graphrec.data.encoder import Encoder
from graphrec.data.faults import bad_data
from graphrec.data.negatives import Negatives
from graphrec.data.remarks import check_limits
from graphrec.data.source import CHUNK_ROWS, Source, Unit
from graphrec.ground.errors import DataError
from graphrec.recipe.model import Recipe

if TYPE_CHECKING:
    from graphrec.nn.batch import Batch

__all__ = ["Loader", "cuts", "with_last"]

Encoded = tuple[Chunk, Counts, float]
"""Some rows, what was counted in them, and the share of their unit that is done with them."""

_BATCHES_AHEAD = 4  # made while a step runs: more take memory and hide no longer a wait
_TOGETHER = 8  # most units that are read in turn; two in a small block
_TURN = 1024  # least rows of a turn


class Loader:
    """An epoch's batches, the same for the same (seed, epoch) whatever the number of workers.

    Files and row groups are permuted and read several in turn, each in proportion to its size: an
    order that goes by files, all positives in one say, is none of the epoch's. Then rows are mixed
    in blocks of `data.shuffle` rows (rounded up to whole batches). A one-row tail joins the batch
    before it. `counts` tells what became of the rows so far, `wait_seconds` how long the caller
    waited for batches. Memory is bounded by four blocks, whatever the number of rows.
    """

    def __init__(
        self,
        recipe: Recipe,
        encoder: Encoder,
        source: Source,
        batch: int,
        *,
        shuffle: bool,
        seed: int = 0,
        workers: int | None = None,
        negatives: Negatives | None = None,
    ) -> None:
        self.encoder, self.source, self.batch_size, self.seed = encoder, source, batch, seed
        self.workers = recipe.data.workers if workers is None else workers
        self.shuffle = shuffle and recipe.data.shuffle > 0
        rows = recipe.data.shuffle if self.shuffle else CHUNK_ROWS
        self.block = -(-rows // batch) * batch
        self._most = min(_TOGETHER, max(2, 2 * self.block // CHUNK_ROWS))
        # Several turns of each unit in every block, or a block would hold one unit's rows only.
        self._turn = min(CHUNK_ROWS // self._most, max(_TURN, self.block // (4 * self._most)))
        self._exact = recipe.data.bad_rows == "error"
        self.counts = Counts()
        self.wait_seconds = 0.0
        self._negatives = negatives

    @property
    def num_rows(self) -> int | None:
        """Rows of an epoch, None where only reading tells; bad ones are still among them."""
        return self.source.num_rows

    @property
    def num_batches(self) -> int | None:
        """Batches of an epoch, None where only reading tells."""
        rows = self.num_rows
        if rows is None:
            return None
        whole, tail = divmod(rows, self.batch_size)
        return whole + (tail > 1 or (tail == 1 and whole == 0))

    def epoch(self, number: int, start_row: int = 0) -> Generator[Batch, None, None]:
        """The batches of epoch `number` (from 0) behind its first `start_row` rows.

        The rows passed over are counted as skipped, those of whole row groups without being read.
        Close the iterator to stop the threads early. Raises DataError for bad data and for an epoch
        without rows.
        """
        self.source.check()
        batches = self._batches(number, start_row)
        if self.workers:
            first = batches
            batches = run_ahead([lambda: first], 1, _BATCHES_AHEAD)
        handed = False
        with closing(batches):
            try:
                while True:
                    before = time.perf_counter()
                    try:
                        item = next(batches, None)
                    except DataError:
                        self.source.check()  # rows that changed are the better reason
                        raise
                    self.wait_seconds += time.perf_counter() - before
                    if item is None:
                        break
                    batch, counts = item
                    self.counts.add(counts)
                    if batch is not None:
                        handed = True
                        yield batch
            finally:
                done = self.counts.trained + self.counts.skipped + self.counts.quarantined
                self.counts.skipped += self.counts.read - done
        if not handed and not start_row:
            raise bad_data("GR712", f"{self.source.name}: no rows are left to use")
        self.source.check()
        check_limits(self.encoder.recipe, self.counts, self.source.name)

    def _batches(
        self, number: int, start_row: int
    ) -> Generator[tuple[Batch | None, Counts], None, None]:
        passed, start_row = divmod(start_row, self.block)
        turns, counts, skip = self._turns(number, passed * self.block)
        with closing(self._chunks(turns)) as chunks:
            for place, (block, counted) in enumerate(_blocks(chunks, self.block, skip), passed):
                counts.add(counted)
                order = None
                if self.shuffle:
                    order = np.random.default_rng([self.seed, number, 1 + place]).permutation(
                        block.num_rows
                    )
                for start, stop in cuts(block.num_rows, self.batch_size):
                    if stop > start_row:
                        begin = max(start, start_row)
                        some = (
                            block.slice(begin, stop)
                            if order is None
                            else block.take(order[begin:stop])
                        )
                        counts.trained = stop - begin
                        batch = some.batch()
                        if self._negatives is not None:
                            row = place * self.block + begin
                            batch.compared = self._negatives.compared(some, number, row)
                        yield batch, counts
                        counts = Counts()
                start_row = max(0, start_row - block.num_rows)
        yield None, counts

    def _turns(self, number: int, skip: int) -> tuple[list[list[Unit]], Counts, int]:
        """The units to read in this epoch's order, several together, and the rows to pass over."""
        units = self.source.units()
        if self.shuffle:
            order = np.random.default_rng([self.seed, number, 0]).permutation(len(units))
            units = [units[i] for i in order]
        in_turn = self.shuffle and not self.source.mixed
        turns = self._together(units) if in_turn else [[unit] for unit in units]
        counts = Counts()
        while self._exact and turns and all(unit.num_rows is not None for unit in turns[0]):
            rows = sum(unit.num_rows or 0 for unit in turns[0])
            if rows > skip:
                break
            turns.pop(0)
            skip -= rows
            counts.add(Counts(read=rows, skipped=rows))
        return turns, counts, skip

    def _together(self, units: list[Unit]) -> list[list[Unit]]:
        """Units in groups of about equally many; small ones stay alone, a block holds many."""
        if all(unit.num_rows is not None and unit.num_rows < self._turn for unit in units):
            return [[unit] for unit in units]
        parts = np.array_split(np.arange(len(units)), -(-len(units) // self._most))
        return [[units[i] for i in part] for part in parts]

    def _chunks(self, turns: list[list[Unit]]) -> Generator[Encoded, None, None]:
        if any(len(units) > 1 for units in turns):
            return self._in_turn(turns)
        tasks: list[Callable[[], Iterator[Encoded]]] = [
            partial(self._encoded, unit) for [unit] in turns
        ]
        if not self.workers:
            return _one_by_one(tasks)
        return run_ahead(tasks, self.workers, self.block, lambda item: item[0].num_rows)

    def _in_turn(self, turns: list[list[Unit]]) -> Generator[Encoded, None, None]:
        """Chunks of units read together: always the next of the unit that is furthest behind."""
        for units in turns:
            tasks = [partial(self._encoded, unit, self._turn) for unit in units]
            done = dict.fromkeys(range(len(units)), 0.0)
            with run_together(tasks, self.workers) as take:
                while done:
                    behind = min(done, key=lambda unit: (done[unit], unit))
                    item = take(behind)
                    if item is None:
                        del done[behind]
                    else:
                        done[behind] = item[2]
                        yield item

    def _encoded(self, unit: Unit, rows: int = CHUNK_ROWS) -> Iterator[Encoded]:
        every = self.source.read(unit) if rows == CHUNK_ROWS else self.source.read(unit, rows=rows)
        for raw in every:
            chunk, counts = self.encoder.encode_raw(raw)
            yield chunk, counts, raw.done


def _one_by_one(tasks: list[Callable[[], Iterator[Encoded]]]) -> Generator[Encoded, None, None]:
    for task in tasks:
        yield from task()


def _blocks(chunks: Iterator[Encoded], size: int, skip: int) -> Iterator[tuple[Chunk, Counts]]:
    """Blocks of exactly `size` rows behind the first `skip`; a single row left over joins the last.

    The counts of a block are those of the chunks read since the one before it.
    """
    waiting: deque[Chunk] = deque()
    rows = 0
    counts = Counts()
    for chunk, counted, _ in chunks:
        counts.add(counted)
        dropped = min(skip, chunk.num_rows)
        skip -= dropped
        counts.skipped += dropped
        if chunk.num_rows > dropped:
            waiting.append(chunk.slice(dropped, chunk.num_rows) if dropped else chunk)
            rows += chunk.num_rows - dropped
        while rows > size + 1:  # at least two rows stay for the next block
            rows -= size
            yield _front(waiting, size), counts
            counts = Counts()
    yield _front(waiting, rows) if rows else Chunk(0, {}), counts


def _front(waiting: deque[Chunk], rows: int) -> Chunk:
    """The first `rows` rows, taken out of `waiting`."""
    taken = []
    while rows:
        first = waiting.popleft()
        if first.num_rows > rows:
            waiting.appendleft(first.slice(rows, first.num_rows))
            first = first.slice(0, rows)
        taken.append(first)
        rows -= first.num_rows
    return Chunk.concat(taken)


def cuts(rows: int, batch: int) -> Iterator[tuple[int, int]]:
    """Where batches start and stop; a last batch of one row joins the one before it.

    >>> list(cuts(9, 4)), list(cuts(1, 4))
    ([(0, 4), (4, 9)], [(0, 1)])
    """
    starts = list(range(0, rows, batch))
    if len(starts) > 1 and rows - starts[-1] == 1 and batch > 1:
        starts.pop()
    return zip(starts, [*starts[1:], rows] if starts else [], strict=True)


def with_last(batches: Iterator[Batch]) -> Iterator[tuple[Batch, bool]]:
    """Each batch, and whether none follows."""
    held: Batch | None = None
    for batch in batches:
        if held is not None:
            yield held, False
        held = batch
    if held is not None:
        yield held, True
