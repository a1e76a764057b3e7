"""Times of candidates that run in turn, A B A B, so that a busy machine slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from statistics import median

import torch

__all__ = ["Taken", "interleaved"]

WINDOW = 0.04
"""Seconds of one window; a window holds at least one call."""


@dataclass(frozen=True)
class Taken:
    """Milliseconds of one call, medians of windows: wall time, processor time of all threads."""

    wall: float
    process: float


def interleaved(
    runs: Mapping[str, Callable[[], object]], windows: int, device: str = "cpu"
) -> dict[str, Taken]:
    """The time of each candidate by name; every one is called twice before the first window."""
    calls = {name: _calls(run, device) for name, run in runs.items()}
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for number in range(windows):
        # Backwards every other time: who comes first after whom is nobody's advantage.
        for name in list(runs)[:: -1 if number % 2 else 1]:
            samples[name].append(_window(runs[name], calls[name], device))
    return {
        name: Taken(median(wall for wall, _ in taken), median(cpu for _, cpu in taken))
        for name, taken in samples.items()
    }


def _calls(run: Callable[[], object], device: str) -> int:
    """How many calls fill a window."""
    _window(run, 1, device)
    seconds = _window(run, 1, device)[0] / 1000
    return max(1, min(1000, ceil(WINDOW / max(seconds, 1e-6))))


def _window(run: Callable[[], object], calls: int, device: str) -> tuple[float, float]:
    """(wall, process) milliseconds of one call."""
    _wait(device)
    wall, process = time.perf_counter(), time.process_time()
    for _ in range(calls):
        run()
    _wait(device)
    return (
        (time.perf_counter() - wall) * 1000 / calls,
        (time.process_time() - process) * 1000 / calls,
    )


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
