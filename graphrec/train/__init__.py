"""Training and evaluation: `train` and `evaluate` are what the command line calls.

Loaded when first used: a mistake in a recipe is told before torch is imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphrec.train.evaluate_run import evaluate
    from graphrec.train.loop import train
    from graphrec.train.run import Run

__all__ = ["Run", "evaluate", "train"]

_HOME = {"Run": "run", "evaluate": "evaluate_run", "train": "loop"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'graphrec.train' has no attribute {name!r}")
    return getattr(import_module(f"graphrec.train.{_HOME[name]}"), name)
