"""One trial: the recipe trained with some values, watched, and given up when others did better."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from graphrec.blocks.library import Library
from graphrec.compiler.pipeline import Compiled
from graphrec.data import DataSet, Encoder
from graphrec.recipe.model import Recipe
from graphrec.recipe.tasks import selection
from graphrec.recipe.training import Device
from graphrec.recipe.yaml_text import flow
from graphrec.train import checkpoint
from graphrec.train.checkpoint import Position
from graphrec.train.device import compile_for
from graphrec.train.loop import OneProcess, train
from graphrec.train.run import Run
from graphrec.train.trainer import Trainer
from graphrec.train.watched import Watched

__all__ = ["Outcome", "Setting", "overrides_of", "run_trial"]

Prune = Callable[[int, float], bool]
"""(number of the evaluation, its value) -> whether to give up."""


@dataclass(frozen=True)
class Setting:
    """What all trials of a study have in common."""

    path: str
    overrides: tuple[str, ...]
    library: Library
    allow_root: str | None
    device: Device | None
    max_memory: int | None
    plugins: tuple[str, ...]
    metric: str

    def compiled(self, values: Mapping[str, Any]) -> Compiled:
        """The recipe with these values, compiled; raises RecipeError."""
        return compile_for(
            self.path,
            device=self.device,
            overrides=(*self.overrides, *overrides_of(values)),
            library=self.library,
            allow_root=self.allow_root,
            max_memory=self.max_memory,
        )

    def keys(self, recipe: Recipe) -> tuple[list[str], bool]:
        """What the metric is called in an evaluation record, and whether more is better."""
        return selection(recipe, self.metric)


@dataclass(frozen=True)
class Outcome:
    """The best evaluation of a trial, None where none had the metric; whether it was given up."""

    value: float | None
    pruned: bool
    seconds: float


def overrides_of(values: Mapping[str, Any]) -> list[str]:
    """Values by path as they are said behind -o."""
    return [f"{path}={flow(value)}" for path, value in values.items()]


def run_trial(setting: Setting, values: Mapping[str, Any], folder: Path, prune: Prune) -> Outcome:
    """Train with these values in a new folder; raises what training raises.

    The folder of an interrupted trial is removed: nobody goes on with half a trial.
    """
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    compiled = setting.compiled(values)
    watched = _Judged(compiled.recipe, setting.keys(compiled.recipe), prune)
    words = [word for text in (*setting.overrides, *overrides_of(values)) for word in ("-o", text)]
    command = ["graphrec", "train", setting.path, *words]
    try:
        train(
            compiled,
            console=_Silent(),
            run_dir=folder,
            command=command,
            plugins=setting.plugins,
            processes=_Watching(watched),
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Outcome(watched.best, watched.pruned, time.monotonic() - started)


class _Silent:
    """Trials say nothing: the study has a line for each."""

    quiet = True

    def result(self, text: str) -> None: ...

    def remark(self, text: str) -> None: ...


class _Judged(Watched):
    """Sees each evaluation of a trial, and ends it where the study says so."""

    def __init__(self, recipe: Recipe, metric: tuple[Sequence[str], bool], prune: Prune) -> None:
        super().__init__(recipe)
        self._keys, self._higher = metric
        self._prune = prune
        self._evaluations = 0
        self.best: float | None = None
        self.pruned = False

    def look(
        self, record: Mapping[str, Any], position: Position, say: Callable[[str], None]
    ) -> bool:
        improved = super().look(record, position, say)
        value = checkpoint.mean_of(record, [*self._keys])
        if value is None:
            return improved
        choose = max if self._higher else min
        self.best = value if self.best is None else choose(self.best, value)
        self._evaluations += 1
        if not position.finished and self._prune(self._evaluations, value):
            self.pruned = position.finished = True
        return improved


class _Watching(OneProcess):
    """One process whose trainer shows its evaluations."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def trainer(
        self, compiled: Compiled, data: DataSet, encoder: Encoder, run: Run, device: torch.device
    ) -> Trainer:
        trainer = super().trainer(compiled, data, encoder, run, device)
        trainer.watched = self._watched
        return trainer
