"""Requests that wait are scored together: one at a time goes through the model, the rest gather."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphrec.data.raw_cells import BadCell
from graphrec.export.server.answers import Engine

__all__ = ["Answer", "Batcher", "Overloaded"]

Row = Mapping[str, Any]


class Overloaded(Exception):
    """More rows wait than is allowed."""


@dataclass(frozen=True)
class Answer:
    """Scores by name, and the step of the model that gave them."""

    scores: dict[str, np.ndarray[Any, Any]]
    step: int


@dataclass
class _Waiting:
    request: Row | None
    rows: Sequence[Row]
    answer: asyncio.Future[Answer]


class Batcher:
    """Hands requests to the engine of the moment, up to `most` rows of several at a time.

    The first request of a batch waits `seconds` for others. `measured` is told of each batch.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        most: int,
        seconds: float,
        waiting_rows: int,
        measured: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._engine, self._most, self._seconds = engine, most, seconds
        self._limit, self._measured = waiting_rows, measured
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task: asyncio.Task[None] | None = None
        self.waiting = 0

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Answer what waits, then end."""
        while self.waiting:
            await asyncio.sleep(0.005)
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._pool.shutdown()

    async def ask(self, request: Row | None, rows: Sequence[Row]) -> Answer:
        """Scores of whole rows, or of the candidates of a request. Raises Overloaded, BadCell."""
        size = max(1, len(rows))
        if self.waiting and self.waiting + size > self._limit:
            raise Overloaded
        waiting = _Waiting(request, rows, asyncio.get_running_loop().create_future())
        self.waiting += size
        waiting.answer.add_done_callback(lambda _: self._left(size))
        self._queue.put_nowait(waiting)
        return await waiting.answer

    def _left(self, size: int) -> None:
        self.waiting -= size

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        held: _Waiting | None = None
        while True:
            first = held or await self._queue.get()
            held = None
            batch = [first]
            if first.request is None:
                held = await self._gather(batch)
            batch = [one for one in batch if not one.answer.done()]  # the others gave up
            if batch:
                outcomes = await loop.run_in_executor(self._pool, self._score, batch)
                for one, outcome in zip(batch, outcomes, strict=True):
                    if one.answer.done():
                        continue
                    if isinstance(outcome, BaseException):
                        one.answer.set_exception(outcome)
                    else:
                        one.answer.set_result(outcome)

    async def _gather(self, batch: list[_Waiting]) -> _Waiting | None:
        """Add what waits to the batch; returns the first request that does not go with it."""
        size = len(batch[0].rows)
        if self._seconds and size < self._most and self._queue.empty():
            await asyncio.sleep(self._seconds)
        while not self._queue.empty():
            one = self._queue.get_nowait()
            if one.request is not None or size + len(one.rows) > self._most:
                return one
            batch.append(one)
            size += len(one.rows)
        return None

    def _score(self, batch: list[_Waiting]) -> list[Answer | BaseException]:
        """In the model's thread: the answer to each request, or what it raised."""
        engine = self._engine()
        self._measured(sum(len(one.rows) for one in batch))
        if len(batch) == 1:
            return [_outcome(engine, batch[0])]
        try:
            together = engine.predict([row for one in batch for row in one.rows])
        except BadCell:  # of one of them: the others must not suffer
            return [_outcome(engine, one) for one in batch]
        except Exception as error:
            return [error] * len(batch)
        answers: list[Answer | BaseException] = []
        start = 0
        for one in batch:
            stop = start + len(one.rows)
            part = {name: values[start:stop] for name, values in together.items()}
            answers.append(Answer(part, engine.step))
            start = stop
        return answers


def _outcome(engine: Engine, one: _Waiting) -> Answer | BaseException:
    try:
        if one.request is None:
            return Answer(engine.predict(one.rows), engine.step)
        assert engine.score is not None, "there is no such address without sides"
        return Answer(engine.score(one.request, one.rows), engine.step)
    except Exception as error:
        return error
