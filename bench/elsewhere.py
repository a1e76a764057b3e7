"""A candidate in a process of its own, with the allocator as it is without graphrec.

Our benchmarks tell malloc to keep freed memory, as our trainer does, for everybody in the process;
peers are timed as their users run them.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from bench.timing import Step, run

__all__ = ["Elsewhere"]


class Elsewhere:
    """Steps made by `make(*given)` in a new process; both must be importable there.

    It computes only while it is called. Close it when done; else it ends with this process.
    """

    def __init__(self, make: Callable[..., Step], *given: Any, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, threads, make, given), daemon=True
        )
        kept = os.environ.get("GRAPHREC_MALLOC")
        os.environ["GRAPHREC_MALLOC"] = "0"
        try:
            self._process.start()
        finally:
            os.environ.pop("GRAPHREC_MALLOC")
            if kept is not None:
                os.environ["GRAPHREC_MALLOC"] = kept

    def __call__(self) -> None:
        self.run(1)

    def run(self, count: int) -> tuple[float, float]:
        """Wall and CPU seconds of `count` steps, as that process sees them."""
        self._ours.send(count)
        found: tuple[float, float] | BaseException = self._ours.recv()
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        """End the process."""
        self._ours.send(0)
        self._process.join()


def _serve(pipe: Connection, threads: int, make: Callable[..., Step], given: Any) -> None:
    import torch

    torch.set_num_threads(threads)
    step: Step | None = None
    while count := pipe.recv():
        try:
            step = step or make(*given)
            pipe.send(run(step, count))
        except Exception as error:
            pipe.send(error)
