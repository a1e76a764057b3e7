"""A trainer's step taken apart: every part's own time, without that of the parts inside it.

Parts are entered where the trainer calls them; nothing of the step is computed otherwise, but that
the loss's backward ends at the predictions, so that it and the model's own are told apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from graphrec.nn import gather
from graphrec.nn.batch import Batch
from graphrec.nn.embedding import Embeddings
from graphrec.train import optimizers
from graphrec.train.losses import Losses, TaskLosses
from graphrec.train.trainer import Trainer
from graphrec.train.window import Window

__all__ = ["PARTS", "Clock", "taken_apart"]

PARTS = (
    "forward",
    "backward",
    "tables",
    "dense optimizer",
    "loss",
    "metrics",
    "loader",
    "trainer",
)
"""`trainer` is what lies outside all others: guards, clearing gradients, the loop's own words."""


class Clock:
    """Seconds spent in each part, wall and CPU time; the innermost part is the one that counts."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}
        self._inside = ["trainer"]
        self._last = (0.0, 0.0)

    def start(self) -> None:
        """Begin to count, outside all parts."""
        self.spent, self._last = {}, _now()

    def stop(self) -> None:
        """Count what is left."""
        self._count()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What happens inside belongs to this part."""
        self._count()
        self._inside.append(name)
        try:
            yield
        finally:
            self._count()
            self._inside.pop()

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The function, all of whose time belongs to this part."""

        def timed(*args: Any, **options: Any) -> Any:
            with self.part(name):
                return call(*args, **options)

        return timed

    def _count(self) -> None:
        now = _now()
        spent = self.spent.setdefault(self._inside[-1], [0.0, 0.0])
        for kind in range(2):
            spent[kind] += now[kind] - self._last[kind]
        self._last = now


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


@contextmanager
def taken_apart(trainer: Trainer, clock: Clock) -> Iterator[None]:
    """Inside, the trainer's steps are counted by part."""
    entered = {
        (Embeddings, "_look_up"): "tables",
        (optimizers, "update_rows"): "tables",
        (optimizers.DenseOptimizer, "step"): "dense optimizer",
        (Window, "add"): "metrics",
    }
    patches = [
        patch.object(owner, name, clock.around(part, getattr(owner, name)))
        for (owner, name), part in entered.items()
    ]
    sparse = clock.around("tables", gather._Gather.backward)
    patches.append(patch.object(gather._Gather, "backward", staticmethod(sparse)))
    patches.append(patch.object(trainer, "forward", clock.around("forward", trainer.forward)))
    patches.append(patch.object(trainer, "losses", _Apart(trainer.losses, clock)))
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in reversed(patches):
            one.stop()


class _Apart:
    """The losses of predictions that are leaves, so that their gradients can be waited for."""

    def __init__(self, losses: TaskLosses, clock: Clock) -> None:
        self.losses, self.clock = losses, clock
        self.step: int | None = None

    def __call__(self, predictions: Mapping[str, Tensor], batch: Batch) -> Losses:
        learned = {name: value for name, value in predictions.items() if value.requires_grad}
        leaves = {name: value.detach().requires_grad_() for name, value in learned.items()}
        with self.clock.part("loss"):
            losses = self.losses({**predictions, **leaves}, batch)
        losses.total = _Total(losses.total, learned, leaves, self.clock)  # type: ignore[assignment]
        return losses

    def __getattr__(self, name: str) -> Any:
        return getattr(self.losses, name)


class _Total:
    """A loss whose backward is two: to the predictions, and from there on."""

    def __init__(
        self, total: Tensor, learned: dict[str, Tensor], leaves: dict[str, Tensor], clock: Clock
    ) -> None:
        self.total, self.learned, self.leaves, self.clock = total, learned, leaves, clock

    @property
    def requires_grad(self) -> bool:
        """Whether there is anything to learn."""
        return self.total.requires_grad

    def detach(self) -> Tensor:
        """The number."""
        return self.total.detach()

    def backward(self) -> None:
        """Both parts."""
        with self.clock.part("loss"):
            self.total.backward()  # type: ignore[no-untyped-call]
        reached = [name for name, leaf in self.leaves.items() if leaf.grad is not None]
        with self.clock.part("backward"):
            torch.autograd.backward(
                [self.learned[name] for name in reached],
                [self.leaves[name].grad for name in reached],  # type: ignore[misc]
            )
