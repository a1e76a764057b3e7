"""Watch what kernels do in Triton's interpreter: addresses, races, order. For tests only.

While `watch()` is on, every lane that a mask lets through must lie inside a tensor argument of the
launch, no two programs may store to one address, programs run in a shuffled order, and new tensors
are full of NaN. What it cannot see: races inside one program.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import triton.runtime.interpreter as interpreter

__all__ = ["OutOfBounds", "Race", "watch"]


class OutOfBounds(Exception):
    """A lane that no mask switched off left every tensor argument."""


class Race(Exception):
    """Two programs of one launch stored to the same address."""


@dataclass
class _Launch:
    """What is known of the launch that runs."""

    ranges: list[tuple[int, int]] = field(default_factory=list)
    programs: dict[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)
    program: tuple[int, ...] = ()
    writers: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def access(self, pointers: Any, mask: Any, store: bool) -> None:
        lanes = np.broadcast_to(mask.data, pointers.data.shape)
        addresses = np.unique(pointers.data[lanes].astype(np.uint64)).tolist()
        width = interpreter._get_np_dtype(pointers.get_element_ty()).itemsize
        for address in addresses:
            if not any(low <= address and address + width <= high for low, high in self.ranges):
                raise OutOfBounds(f"{'store' if store else 'load'} at {address}")
            if store and self.writers.setdefault(address, self.program) != self.program:
                raise Race(f"programs {self.writers[address]} and {self.program}")


@contextmanager
def watch(seed: int = 0) -> Iterator[None]:
    """Check every launch inside the `with`; errors arrive inside Triton's InterpreterError."""
    builder, executor = interpreter.InterpreterBuilder, interpreter.GridExecutor
    launch = _Launch()
    hooks = {
        (builder, "create_masked_load"): _load(launch, builder.create_masked_load),
        (builder, "create_masked_store"): _store(launch, builder.create_masked_store),
        (builder, "set_grid_dim"): _grid(launch, builder.set_grid_dim, random.Random(seed)),
        (builder, "set_grid_idx"): _program(launch, builder.set_grid_idx),
        (executor, "_init_args_hst"): _arguments(launch, executor._init_args_hst),
    }
    originals = {key: getattr(*key) for key in hooks}
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # with it, empty tensors are filled with NaN
    for (owner, name), hook in hooks.items():
        setattr(owner, name, hook)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        for (owner, name), original in originals.items():
            setattr(owner, name, original)


def _load(launch: _Launch, original: Any) -> Any:
    def load(self: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
        launch.access(pointers, mask, store=False)
        return original(self, pointers, mask, *rest)

    return load


def _store(launch: _Launch, original: Any) -> Any:
    def store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        launch.access(pointers, mask, store=True)
        return original(self, pointers, value, mask, *rest)

    return store


def _grid(launch: _Launch, original: Any, shuffler: random.Random) -> Any:
    def dimensions(self: Any, *sizes: int) -> Any:
        order = list(itertools.product(*(range(size) for size in sizes)))
        launch.programs = dict(zip(order, shuffler.sample(order, len(order)), strict=True))
        launch.writers.clear()
        return original(self, *sizes)

    return dimensions


def _program(launch: _Launch, original: Any) -> Any:
    def index(self: Any, *at: int) -> Any:
        launch.program = launch.programs[at]
        return original(self, *launch.program)

    return index


def _arguments(launch: _Launch, original: Any) -> Any:
    def arguments(self: Any, *args: Any) -> Any:
        host, named = original(self, *args)
        tensors = [a for a in (*host, *named.values()) if hasattr(a, "data_ptr") and a.numel()]
        launch.ranges = [(t.data_ptr(), t.data_ptr() + _bytes(t)) for t in tensors]
        return host, named

    return arguments


def _bytes(tensor: Any) -> int:
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    return int((last + 1) * tensor.element_size())
