"""The metrics that a run waits for: those of early stopping, and of the best checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from graphrec.recipe.model import Recipe
from graphrec.recipe.tasks import selection
from graphrec.train import checkpoint
from graphrec.train.checkpoint import Checkpoint, Position

__all__ = ["Watched", "best_checkpoint"]

Record = Mapping[str, Any]


class Watched:
    """Looks at every evaluation; what it has seen is in the `Position`, so that runs resume."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def look(self, record: Record, position: Position, say: Callable[[str], None]) -> bool:
        """Note this evaluation; whether it is the best so far by `train.save.best`."""
        self._tell_missing(record, say)
        self._early_stop(record, position, say)
        return self._improved(record, position)

    def _tell_missing(self, record: Record, say: Callable[[str], None]) -> None:
        """Tell of metrics that something rests on and that these rows do not have."""
        stop, best = self._recipe.train.early_stop, self._recipe.train.save.best
        rests = {"train.save.best": best, "train.early_stop": stop.metric if stop else None}
        for setting, wanted in rests.items():
            keys = selection(self._recipe, wanted)[0] if wanted else []
            missing = [key for key in keys if record.get(key) is None]
            if missing:
                say(
                    f"{', '.join(missing)} is not available (no labelled row, or one class only):"
                    f" this evaluation does not count for {setting}"
                )

    def _early_stop(self, record: Record, position: Position, say: Callable[[str], None]) -> None:
        rule = self._recipe.train.early_stop
        value = (
            checkpoint.mean_of(record, selection(self._recipe, rule.metric)[0]) if rule else None
        )
        if rule is None or value is None:  # what is not there has not failed to improve
            return
        if _better(value, position.best, selection(self._recipe, rule.metric)[1]):
            position.best, position.waited = value, 0
            return
        position.waited += 1
        if position.waited >= rule.patience:
            position.finished = True
            say(f"early stop: {rule.metric} has not improved in {position.waited} evaluations")

    def _improved(self, record: Record, position: Position) -> bool:
        wanted = self._recipe.train.save.best
        if wanted is None:
            return False
        keys, higher = selection(self._recipe, wanted)
        value = checkpoint.mean_of(record, keys)
        if value is None or not _better(value, position.saved, higher):
            return False
        position.saved, position.best_step = value, position.step
        return True


def best_checkpoint(recipe: Recipe, parent: Path) -> Checkpoint | None:
    """The checkpoint with the best evaluation, by the recipe's `train.save.best`."""
    if recipe.train.save.best is None:
        return None
    return checkpoint.best(parent, *selection(recipe, recipe.train.save.best))


def _better(value: float, best: float | None, higher: bool) -> bool:
    return best is None or (value > best if higher else value < best)
