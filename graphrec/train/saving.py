"""When and how a run writes its checkpoints: tried before the first update, then beside training.

A checkpoint is copied in memory and written by a thread while training goes on; its time is kept
below 2.5 % of the run's. One that does not fit into memory twice is written in place.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor

from graphrec.ground.errors import CheckpointError, EnvironmentFault, Problem, RecipeError
from graphrec.ground.text import memory
from graphrec.train import checkpoint
from graphrec.train.checkpoint import Position
from graphrec.train.tensors import FileFacts, unsaved

__all__ = ["Saver", "State", "try_saving"]

State = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]
"""The module's state, and that of everything else."""

_SHARE = 40
"""Seconds between timed checkpoints, for each second that the last one took."""
_TRIED = 1 << 18
"""Numbers of a tensor that a trial writes: enough to know that it can be saved."""


class Saver:
    """Writes the checkpoints of a run, one at a time, and removes those no longer kept."""

    def __init__(self, parent: Path, recipe: str, keep: int, minutes: float) -> None:
        self.parent, self.recipe, self.keep, self.minutes = parent, recipe, keep, minutes
        self.run_files: Mapping[str, FileFacts] = {}
        self.written, self.waited, self.writing = 0, 0.0, 0.0
        """Checkpoints written, seconds that training waited for them, seconds of writing."""
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._last = time.perf_counter()
        self._took = 0.0

    @property
    def since(self) -> float:
        """Seconds since the last one was begun."""
        return time.perf_counter() - self._last

    @property
    def due(self) -> bool:
        """Whether it is time for another, by the clock; raises what the last one has met."""
        if self._error is not None:
            self.wait()
        return bool(self.minutes) and self.since >= max(60 * self.minutes, _SHARE * self._took)

    def save(self, state: State, position: Position, *, wait: bool) -> None:
        """Write a checkpoint of this moment; with `wait` it is on the disk afterwards.

        Raises EnvironmentFault (GR803) where the disk takes it not, this one or the one before.
        """
        self.wait()
        self._last = begin = time.perf_counter()
        if wait or not _fits_twice(state):
            self._write(state, position)
        else:
            copies = tuple({k: v.detach().clone() for k, v in part.items()} for part in state)
            arguments = (copies, deepcopy(position))
            self._thread = threading.Thread(target=self._try, args=arguments, name="checkpoint")
            self._thread.start()
        self.waited += time.perf_counter() - begin

    def wait(self) -> None:
        """Wait for the one being written; raises what it met."""
        self.settle()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def settle(self) -> None:
        """Wait for the one being written, whatever it met."""
        if self._thread is not None:
            begin = time.perf_counter()
            self._thread.join()
            self._thread = None
            self.waited += time.perf_counter() - begin

    def _try(self, state: State, position: Position) -> None:
        try:
            self._write(state, position)
        except BaseException as error:  # told by the training thread
            self._error = error

    def _write(self, state: State, position: Position) -> None:
        begin = time.perf_counter()
        checkpoint.save(self.parent, *state, position, self.recipe, self.run_files)
        checkpoint.prune(self.parent, self.keep, position.best_step)
        self._took = time.perf_counter() - begin
        self.written += 1
        self.writing += self._took


def try_saving(parent: Path, state: State) -> None:
    """Write a first checkpoint with the beginning of every tensor, read it back and remove it.

    What can't be saved is told before anything is trained: RecipeError (GR810) for tensors that no
    file can hold, EnvironmentFault (GR803) for a disk that does not take them, or is too small.
    """
    whole = {**state[0], **state[1]}
    problems = [
        Problem(
            "GR810",
            f"`{name}` can't be saved: {why}",
            help="a checkpoint holds floats, integers, booleans and complex64; keep the tensor in "
            "one of them, or out of the state: register_buffer(..., persistent=False)",
        )
        for name, why in unsaved(whole).items()
    ]
    if problems:
        raise RecipeError(problems)
    parent.mkdir(parents=True, exist_ok=True)
    needed = sum(tensor.numel() * tensor.element_size() for tensor in whole.values())
    free = shutil.disk_usage(parent).free
    if free < needed:
        what = f"a checkpoint needs {memory(needed)}, and {parent} has {memory(free)} left"
        raise EnvironmentFault(Problem("GR803", what, help="free some space, or --run elsewhere"))
    model, rest = ({k: _beginning(v) for k, v in part.items()} for part in state)
    trial = parent / ".saving-trial"
    try:
        folder = checkpoint.save(trial, model, rest, Position(), "")
        saved = checkpoint.load(folder)
        for name, tensor in {**saved.model(), **saved.optim()}.items():
            if not _equal(tensor, model[name] if name in model else rest[name]):
                raise checkpoint.damaged(folder, f"`{name}` is read otherwise than it was written")
    except CheckpointError as error:
        help = "the disk does not give back what it was given; --run elsewhere"
        message = error.problems[0].message
        raise EnvironmentFault(Problem("GR803", message, help=help)) from None
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def _beginning(tensor: Tensor) -> Tensor:
    flat = tensor.detach()
    return flat.reshape(-1)[:_TRIED] if flat.numel() > _TRIED else flat


def _equal(one: Tensor, two: Tensor) -> bool:
    """Bit by bit: NaN equals itself."""
    same = one.dtype == two.dtype and one.shape == two.shape
    pair = [t.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1) for t in (one, two)]
    return same and (not one.numel() or torch.equal(*(t.view(torch.uint8) for t in pair)))


def _fits_twice(state: State) -> bool:
    """Whether a copy of the state leaves half of the free memory; yes where that is not told."""
    size = sum(t.numel() * t.element_size() for part in state for t in part.values())
    return 2 * size < _free_memory()


def _free_memory() -> float:
    free = float("inf")
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable"))
        group = Path("/sys/fs/cgroup")
        used, limit = ((group / f"memory.{name}").read_text() for name in ("current", "max"))
        if limit.strip() != "max":
            free = min(free, int(limit) - int(used))
    except (OSError, ValueError, StopIteration):
        pass  # no such system, or no limit of its own
    return free
