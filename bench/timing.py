"""Measuring: candidates take turns window by window; medians of wall and CPU time.

Import it before torch: threads that wait must soon sleep, as they do under the command line; they
would slow down the next candidate.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from graphrec.train.process import prepare_process

prepare_process()

__all__ = ["Step", "Time", "machine", "measure", "run"]

Step = Callable[[], object]
PACKAGES = ("torch", "numpy", "pyarrow", "fbgemm-gpu-cpu", "fuxictr", "deepctr-torch")


@dataclass(frozen=True)
class Time:
    """Medians over the windows: milliseconds a step, wall and CPU time of the process."""

    wall: float
    cpu: float

    def over(self, other: Time) -> tuple[float, float]:
        """How many times as fast this is: the other's times over these, wall and CPU."""
        return other.wall / self.wall, other.cpu / self.cpu


def measure(
    candidates: Mapping[str, Step], windows: int = 7, seconds: float = 0.5
) -> dict[str, Time]:
    """Time candidates A B C, A B C, ...; a window is at least `seconds` and one step long.

    Every candidate takes one step before, and a window that does not count.
    """
    steps = {name: _steps(step, seconds) for name, step in candidates.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for window in range(windows + 1):
        for name, step in candidates.items():
            spent = run(step, steps[name])
            if window:
                found[name].append((spent[0] / steps[name], spent[1] / steps[name]))
    return {
        name: Time(*(1e3 * statistics.median(column) for column in zip(*spent, strict=True)))
        for name, spent in found.items()
    }


def run(step: Step, count: int) -> tuple[float, float]:
    """Wall and CPU seconds of `count` steps; one that runs elsewhere says them itself."""
    elsewhere = getattr(step, "run", None)
    if elsewhere is not None:
        found: tuple[float, float] = elsewhere(count)
        return found
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        step()
    return time.perf_counter() - wall, time.process_time() - cpu


def _steps(step: Step, seconds: float) -> int:
    """Steps of a window."""
    step()
    start = time.perf_counter()
    step()
    return max(1, round(seconds / max(time.perf_counter() - start, 1e-6)))


def machine(threads: int) -> dict[str, object]:
    """What numbers depend on: processor, memory, versions, load, commit."""
    root = Path(__file__).resolve().parent.parent
    versions = {"python": platform.python_version()}
    # The peers lie in a folder of their own.
    places = [*sys.path, str(Path(__file__).resolve().parent / ".peers")]
    for package in PACKAGES:
        found = next(iter(metadata.distributions(name=package, path=places)), None)
        versions[package] = found.version if found else "not installed"
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor(),
        "bf16": [f for f in ("avx512_bf16", "amx_bf16") if f in _first("/proc/cpuinfo", "flags")],
        "cores": os.cpu_count(),
        "memory": _first("/proc/meminfo", "MemTotal"),
        "threads": threads,
        "openmp": {name: os.environ.get(name) for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")},
        "load": round(os.getloadavg()[0], 2),
        "versions": versions,
        "commit": _git(root, "rev-parse", "--short", "HEAD"),
        "changed": bool(_git(root, "status", "--porcelain", "--", "graphrec", "bench/*.py")),
    }


def _first(path: str, key: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _git(root: Path, *command: str) -> str:
    found = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True)
    return found.stdout.strip()
