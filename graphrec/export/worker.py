"""Several processes for one job: each takes a stretch of the data, scores it, and takes the next.

`python -m graphrec.export.worker` is such a process: the job as a line of JSON on stdin, then the
number of a stretch a line; what it counted, and the end of a stretch, as lines of JSON on stdout.
It ends with its parent: whoever reads and writes the other ends of the pipes is gone then.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from graphrec.blocks.library import load_library
from graphrec.export.predict import Job, Summary, Told, claimed, finish, open_job, write_stretch
from graphrec.ground.errors import GraphrecError, Problem
from graphrec.train.process import prepare_process

__all__ = ["predict_side_by_side"]


def predict_side_by_side(
    job: Job, processes: int, told: Told, plugins: Sequence[str] = ()
) -> Summary:
    """`predict` by several processes of equally many threads; the files are the same.

    What a process that was killed had in hand, this one does. Raises what a process raised.
    """
    with claimed(job, load_library(plugins)) as opened:
        start, resumed = time.perf_counter(), opened.resumed
        if not opened.folder.finished:
            crew = _Crew(job, plugins, range(len(opened.stretches)), told)
            crew.run(processes)
            for number in sorted(crew.left):
                write_stretch(opened, opened.stretches[number], told)
        return finish(opened, time.perf_counter() - start, resumed)


class _Crew:
    """The processes of a job, each with a thread that hands it stretches."""

    def __init__(self, job: Job, plugins: Sequence[str], stretches: range, told: Told) -> None:
        self._order = json.dumps({"job": asdict(job), "plugins": list(plugins)})
        self._waiting = deque(stretches)
        self._told = told
        self._lock = threading.Lock()
        self._faults: list[GraphrecError] = []
        self._in_hand: dict[int, int] = {}

    @property
    def left(self) -> set[int]:
        """Stretches that no process finished."""
        return {*self._waiting, *self._in_hand.values()}

    def run(self, processes: int) -> None:
        count = min(processes, len(self._waiting))
        started = [self._start(count) for _ in range(count)]
        threads = [threading.Thread(target=self._serve, args=(one,)) for one in started]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            for process in started:
                process.kill()
                with suppress(BrokenPipeError), process:
                    pass  # waits for it, and closes the pipes
        if self._faults:
            raise self._faults[0]

    def _start(self, count: int) -> subprocess.Popen[str]:
        import torch

        threads = str(max(1, torch.get_num_threads() // count))
        # Blocks of one's own are found where this process finds them.
        env = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "graphrec.export.worker"]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )

    def _serve(self, process: subprocess.Popen[str]) -> None:
        """Hand out stretches until there is none, or something went wrong anywhere."""
        assert process.stdin is not None and process.stdout is not None
        try:
            print(self._order, file=process.stdin, flush=True)
            while (number := self._next(process.pid)) is not None:
                print(number, file=process.stdin, flush=True)
                if not self._listen(process.stdout):
                    return
                del self._in_hand[process.pid]
            process.stdin.close()
        except BrokenPipeError:
            pass  # the process is dead: what it had in hand is left

    def _next(self, process: int) -> int | None:
        with self._lock:
            if self._faults or not self._waiting:
                return None
            self._in_hand[process] = self._waiting.popleft()
            return self._in_hand[process]

    def _listen(self, lines: Any) -> bool:
        """Read until the stretch is done; False where the process ended, or could not do it."""
        for line in lines:
            message = json.loads(line)
            with self._lock:
                if "done" in message:
                    return True
                if "problems" in message:
                    self._faults.append(_raised(message))
                    return False
                self._told(**message)
        return False


def _raised(message: dict[str, Any]) -> GraphrecError:
    """The error of another process; spans stay there."""
    kinds = {kind.exit_status: kind for kind in GraphrecError.__subclasses__()}
    names = ("code", "message", "path", "help", "severity")
    problems = [Problem(**{name: one[name] for name in names}) for one in message["problems"]]
    return kinds.get(message["status"], GraphrecError)(problems)


def _tell(**message: Any) -> None:
    print(json.dumps(message), flush=True)


def _told(read: int, scored: int) -> None:
    _tell(read=read, scored=scored)


def _main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends this one
    prepare_process()
    order = json.loads(sys.stdin.readline())
    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in order["job"].items()
    }
    try:
        opened = open_job(Job(**given), load_library(order["plugins"]))
        for line in sys.stdin:
            write_stretch(opened, opened.stretches[int(line)], _told)
            _tell(done=int(line))
    except GraphrecError as error:
        _tell(problems=[one.as_json() for one in error.problems], status=error.exit_status)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(_main())
    except BrokenPipeError:
        os._exit(1)
