"""Work done ahead by threads, its results taken in the order of the tasks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Generic, TypeVar

__all__ = ["run_ahead"]

T = TypeVar("T")
Task = Callable[[], Iterator[T]]


def run_ahead(
    tasks: Sequence[Task[T]], workers: int, budget: int, size: Callable[[T], int] = lambda _: 1
) -> Generator[T, None, None]:
    """The items of all tasks, task after task, made by `workers` threads.

    Threads pause while items of a total `size` of `budget` wait to be taken. The order never
    depends on their number. An exception in a task is raised where its item would have come.
    Closing the generator stops the threads and waits for them.
    """
    shelf: _Shelf[T] = _Shelf(tasks, budget, size)
    threads = [
        threading.Thread(target=shelf.work, daemon=True) for _ in range(min(workers, len(tasks)))
    ]
    for thread in threads:
        thread.start()
    try:
        for number in range(len(tasks)):
            yield from shelf.take(number)
    finally:
        shelf.stop()
        for thread in threads:
            thread.join()


class _Stopped(Exception):
    """The consumer is gone."""


class _Shelf(Generic[T]):
    """Where finished items wait. One condition guards everything in it."""

    def __init__(self, tasks: Sequence[Task[T]], budget: int, size: Callable[[T], int]) -> None:
        self._tasks, self._budget, self._size = tasks, budget, size
        self._changed = threading.Condition()
        self._waiting: dict[int, deque[T]] = {}
        self._ended: dict[int, BaseException | None] = {}
        self._claimed = self._current = self._total = 0
        self._stopped = False

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def take(self, number: int) -> Iterator[T]:
        """The items of one task; raises what the task raised."""
        with self._changed:
            self._current = number
            self._changed.notify_all()
        while True:
            with self._changed:
                while not self._waiting.get(number) and number not in self._ended:
                    self._changed.wait()
                if not self._waiting.get(number):
                    fault = self._ended.pop(number)
                    self._waiting.pop(number, None)
                    if fault is not None:
                        raise fault
                    return
                item = self._waiting[number].popleft()
                self._total -= self._size(item)
                self._changed.notify_all()
            yield item

    def work(self) -> None:
        """A thread: claim the next task, run it, until there is none."""
        while True:
            with self._changed:
                number = self._claimed
                if self._stopped or number >= len(self._tasks):
                    return
                self._claimed += 1
            fault: BaseException | None = None
            try:
                items = self._tasks[number]()
                try:
                    for item in items:
                        self._put(number, item)
                finally:
                    close = getattr(items, "close", None)
                    if close is not None:
                        close()
            except _Stopped:
                return
            except BaseException as raised:  # handed to the consumer, whatever it is
                fault = raised
            with self._changed:
                self._ended[number] = fault
                self._changed.notify_all()

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
        if number != self._current:
            return self._total
        return sum(map(self._size, self._waiting.get(number, ())))
