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
from dataclasses import asdict
from typing import Any

from graphrec.blocks.library import load_library
from graphrec.errors import EnvironmentFault, GraphrecError, Problem
from graphrec.export.predict import Job, Summary, Told, claimed, finish, open_job, write_stretch

__all__ = ["predict_side_by_side"]


def predict_side_by_side(
    job: Job, processes: int, told: Told, plugins: Sequence[str] = ()
) -> Summary:
    """`predict` by several processes of equally many threads; the files are the same.

    Raises what a process raised, and EnvironmentFault (GR809) when one was killed.
    """
    with claimed(job, load_library(plugins)) as opened:
        start, resumed = time.perf_counter(), opened.resumed
        if not opened.folder.finished:
            crew = _Crew(job, plugins, range(len(opened.stretches)), told)
            crew.run(processes)
        return finish(opened, time.perf_counter() - start, resumed)


class _Crew:
    """The processes of a job, each with a thread that hands it stretches."""

    def __init__(self, job: Job, plugins: Sequence[str], stretches: range, told: Told) -> None:
        self._order = json.dumps({"job": asdict(job), "plugins": list(plugins)})
        self._waiting = deque(stretches)
        self._told = told
        self._lock = threading.Lock()
        self._faults: list[GraphrecError] = []

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
                process.wait()
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
            while (number := self._next()) is not None:
                print(number, file=process.stdin, flush=True)
                if not self._listen(process.stdout):
                    break
            else:
                process.stdin.close()
                return
        except BrokenPipeError:
            pass
        with self._lock:
            if not self._faults:
                self._faults.append(_died(process.wait()))

    def _next(self) -> int | None:
        with self._lock:
            return None if self._faults or not self._waiting else self._waiting.popleft()

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


def _died(status: int) -> EnvironmentFault:
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    help = "the same command goes on where it was left; memory is the usual cause (--nproc 1)"
    return EnvironmentFault(Problem("GR809", f"a process that scored rows {how}", help=help))


def _tell(**message: Any) -> None:
    print(json.dumps(message), flush=True)


def _main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends this one
    order = json.loads(sys.stdin.readline())
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in order["job"].items()}
    try:
        opened = open_job(Job(**given), load_library(order["plugins"]))
        for line in sys.stdin:
            write_stretch(opened, opened.stretches[int(line)], _tell)
            _tell(done=int(line))
    except GraphrecError as error:
        _tell(problems=[one.as_json() for one in error.problems], status=error.exit_status)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(_main())
    except BrokenPipeError:
        os._exit(1)
