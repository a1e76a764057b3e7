"""Work done ahead by threads: results in the order of the tasks, or of several tasks in turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Generic, TypeVar

__all__ = ["run_ahead", "run_together"]

T = TypeVar("T")
Task = Callable[[], Iterator[T]]
Take = Callable[[int], T | None]
"""The next item of a task by its number; None when it has ended. Raises what the task raised."""

_EACH = 2  # items of every task that wait, where several are under way


def run_ahead(
    tasks: Sequence[Task[T]], workers: int, budget: int, size: Callable[[T], int] = lambda _: 1
) -> Generator[T, None, None]:
    """The items of all tasks, task after task, made by `workers` threads.

    Threads pause while items of a total `size` of `budget` wait to be taken. The order never
    depends on their number. An exception in a task is raised where its item would have come.
    Closing the generator stops the threads and waits for them.
    """
    shelf: _Shelf[T] = _Shelf(tasks, budget, size, nullcontext())
    with shelf.threads(min(workers, len(tasks))):
        for number in range(len(tasks)):
            while (item := shelf.take(number)) is not None:
                yield item


@contextmanager
def run_together(tasks: Sequence[Task[T]], workers: int) -> Iterator[Take[T]]:
    """Takes items of tasks that are all under way, `workers` of them at work at any time."""
    if not workers:
        iterators = [task() for task in tasks]
        yield lambda number: next(iterators[number], None)
        return
    shelf: _Shelf[T] = _Shelf(tasks, _EACH, None, threading.Semaphore(workers))
    with shelf.threads(len(tasks)):
        yield shelf.take


class _Shelf(Generic[T]):
    """Where finished items wait. One condition guards everything in it.

    With `size`, the waiting items of all tasks share a budget; without, each task has its own.
    """

    def __init__(
        self,
        tasks: Sequence[Task[T]],
        budget: int,
        size: Callable[[T], int] | None,
        gate: AbstractContextManager[object],
    ) -> None:
        self._tasks, self._budget, self._gate = tasks, budget, gate
        self._shared, self._size = size is not None, size or (lambda _: 1)
        self._changed = threading.Condition()
        self._waiting: dict[int, deque[T]] = {}
        self._ended: dict[int, BaseException | None] = {}
        self._claimed = self._current = self._total = 0
        self._stopped = False

    @contextmanager
    def threads(self, number: int) -> Iterator[None]:
        """Threads at work, stopped and waited for in the end."""
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(number)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
            for thread in threads:
                thread.join()

    def take(self, number: int) -> T | None:
        """The next item of a task, None at its end; raises what the task raised."""
        with self._changed:
            if self._current != number:
                self._current = number
                self._changed.notify_all()
            while not self._waiting.get(number) and number not in self._ended:
                self._changed.wait()
            if not self._waiting.get(number):
                fault = self._ended[number]
                self._waiting.pop(number, None)
                if fault is not None:
                    raise fault
                return None
            item = self._waiting[number].popleft()
            self._total -= self._size(item)
            self._changed.notify_all()
            return item

    def _work(self) -> None:
        """A thread: claim the next task, run it, until there is none."""
        while True:
            with self._changed:
                number = self._claimed
                if self._stopped or number >= len(self._tasks):
                    return
                self._claimed += 1
            fault: BaseException | None = None
            try:
                self._run(number)
            except _Stopped:
                return
            except BaseException as raised:  # handed to the consumer, whatever it is
                fault = raised
            with self._changed:
                self._ended[number] = fault
                self._changed.notify_all()

    def _run(self, number: int) -> None:
        with self._gate:
            items = self._tasks[number]()
        try:
            while True:
                with self._gate:
                    item = next(items, None)
                if item is None:
                    return
                self._put(number, item)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def _put(self, number: int, item: T) -> None:
        with self._changed:
            # The task that is being taken from waits for its own items only: it can't be starved.
            while not self._stopped and self._held(number) >= self._budget:
                self._changed.wait()
            if self._stopped:
                raise _Stopped
            self._waiting.setdefault(number, deque()).append(item)
            self._total += self._size(item)
            self._changed.notify_all()

    def _held(self, number: int) -> int:
        if self._shared and number != self._current:
            return self._total
        return sum(map(self._size, self._waiting.get(number, ())))


class _Stopped(Exception):
    """The consumer is gone."""
