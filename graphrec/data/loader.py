"""Batches of an epoch: shuffled across files, row groups and rows, read ahead by threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from graphrec.data.ahead import run_ahead
from graphrec.data.chunk import Chunk
from graphrec.data.counts import Counts
from graphrec.data.encoder import Encoder
from graphrec.data.faults import bad_data
from graphrec.data.remarks import check_limits
from graphrec.data.source import CHUNK_ROWS, Source, Unit
from graphrec.errors import DataError
from graphrec.recipe.model import Recipe

if TYPE_CHECKING:
    from graphrec.nn.batch import Batch

__all__ = ["Loader", "cuts"]

Encoded = tuple[Chunk, Counts]

_BATCHES_AHEAD = 4


class Loader:
    """An epoch's batches, the same for the same (seed, epoch) whatever the number of workers.

    Files and row groups are permuted, then rows are mixed in blocks of `data.shuffle` rows (rounded
    up to whole batches). A one-row tail joins the batch before it. `counts` tells what became of
    the rows so far, `wait_seconds` how long the caller waited for batches. Memory is bounded by
    three blocks, whatever the number of rows.
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
    ) -> None:
        self.encoder, self.source, self.batch_size, self.seed = encoder, source, batch, seed
        self.workers = recipe.data.workers if workers is None else workers
        self.shuffle = shuffle and recipe.data.shuffle > 0
        rows = recipe.data.shuffle if self.shuffle else CHUNK_ROWS
        self.block = -(-rows // batch) * batch
        self._exact = recipe.data.bad_rows == "error"
        self.counts = Counts()
        self.wait_seconds = 0.0

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
        units, counts, skip = self._units(number, passed * self.block)
        with closing(self._chunks(units)) as chunks:
            for place, (block, found) in enumerate(_blocks(chunks, self.block, skip), passed):
                counts.add(found)
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
                        yield some.batch(), counts
                        counts = Counts()
                start_row = max(0, start_row - block.num_rows)
        yield None, counts

    def _units(self, number: int, skip: int) -> tuple[list[Unit], Counts, int]:
        """The units to read, in this epoch's order, and the rows to pass over in them."""
        units = self.source.units()
        if self.shuffle:
            order = np.random.default_rng([self.seed, number, 0]).permutation(len(units))
            units = [units[i] for i in order]
        counts = Counts()
        while self._exact and units and units[0].num_rows is not None and units[0].num_rows <= skip:
            rows = units.pop(0).num_rows or 0
            skip -= rows
            counts.add(Counts(read=rows, skipped=rows))
        return units, counts, skip

    def _chunks(self, units: list[Unit]) -> Generator[Encoded, None, None]:
        tasks: list[Callable[[], Iterator[Encoded]]] = [
            partial(self._encoded, unit) for unit in units
        ]
        if not self.workers:
            return _one_by_one(tasks)
        return run_ahead(tasks, self.workers, self.block, lambda item: item[0].num_rows)

    def _encoded(self, unit: Unit) -> Iterator[Encoded]:
        for raw in self.source.read(unit):
            yield self.encoder.encode_raw(raw)


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
    for chunk, found in chunks:
        counts.add(found)
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
