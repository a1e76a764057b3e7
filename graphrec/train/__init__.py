"""Training and evaluation: `train` and `evaluate` are what the command line calls.

Loaded when first used: a mistake in a recipe is told before torch is imported. The room itself can
be called: `graphrec.train("deepfm")` trains a recipe, see `graphrec.train.from_python`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
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


class _Room(ModuleType):
    """A package cannot have a function of its name beside it, so it is that function, too."""

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """See `graphrec.train.from_python.train_recipe`."""
        from graphrec.train.from_python import train_recipe

        return train_recipe(*args, **settings)


sys.modules[__name__].__class__ = _Room
