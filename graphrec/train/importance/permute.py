"""Permutation importance: what a task loses when rows swap the values of one feature.

The order of rows comes from (seed, repeat, batch) alone, so that all features meet the same swaps
and their effects compare. Batches should be mixed: in rows sorted by user, a user's own rows swap.

Breiman, Random Forests, Machine Learning 2001.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
import torch
from torch import Tensor

from graphrec.nn.batch import Batch
from graphrec.recipe.calls import Call
from graphrec.recipe.tasks import has_inside, has_two_outcomes, key
from graphrec.train.evaluate_run import Trained
from graphrec.train.evaluation import LabelledRows, LossMeans
from graphrec.train.importance.subjects import Target
from graphrec.train.losses import TaskLosses
from graphrec.train.metrics import make_metric

__all__ = ["Effect", "Importance", "Scores", "permutation_importance"]


@dataclass(frozen=True)
class Scores:
    """What one pass measures of a task: None where there is no loss, or not two outcomes."""

    auc: float | None
    loss: float | None


@dataclass(frozen=True)
class Effect:
    """Mean and standard deviation over the repeats: the drop in AUC, the rise in the loss."""

    auc_drop: float | None
    auc_spread: float | None
    loss_rise: float | None
    loss_spread: float | None


@dataclass(frozen=True)
class Importance:
    """The effects of a feature, group or node, by task."""

    name: str
    effects: Mapping[str, Effect]

    def size(self, baseline: Mapping[str, Scores]) -> float:
        """One number to rank by: the mean drop in AUC, else the mean relative rise in loss."""
        effects = self.effects
        drops = [e.auc_drop for e in effects.values() if e.auc_drop is not None]
        if len(drops) == len(effects):
            return fmean(drops)
        rises = [
            e.loss_rise / max(abs(baseline[task].loss or 0.0), 1e-12)
            for task, e in effects.items()
            if e.loss_rise is not None
        ]
        return fmean(rises) if rises else 0.0


def permutation_importance(
    run: Trained,
    batches: Sequence[Batch],
    targets: Iterable[Target],
    *,
    repeats: int = 3,
    seed: int = 0,
    progress: Callable[[str], None] = lambda name: None,
) -> tuple[Mapping[str, Scores], list[Importance]]:
    """Scores by task as they are, and the targets from the most important to the least.

    `progress` is told each target before it is permuted.
    """
    baseline = _scores(run, batches)
    importances = []
    for target in targets:
        progress(target.name)
        passes = [_scores(run, batches, target, (seed, repeat)) for repeat in range(repeats)]
        effects = {
            task: Effect(
                *_spread([_minus(before.auc, after[task].auc) for after in passes]),
                *_spread([_minus(after[task].loss, before.loss) for after in passes]),
            )
            for task, before in baseline.items()
        }
        importances.append(Importance(target.name, effects))
    importances.sort(key=lambda importance: (-importance.size(baseline), importance.name))
    return baseline, importances


def _scores(
    run: Trained,
    batches: Sequence[Batch],
    target: Target | None = None,
    seed: tuple[int, int] = (0, 0),
) -> Mapping[str, Scores]:
    """Every task's scores on the batches, the target's rows swapped."""
    recipe, losses = run.recipe, TaskLosses(run.recipe)
    means = LossMeans(losses)
    labelled = [name for name in sorted(recipe.tasks) if recipe.tasks[name].label is not None]
    auc = Call("auc")
    aucs = {
        name: make_metric(auc, logits=True)
        for name in labelled
        if recipe.tasks[name].kind == "binary" and has_two_outcomes(recipe, name)
    }
    with torch.no_grad():
        for number, batch in enumerate(batches):
            predictions = _predict(run, batch, target, (*seed, number))
            means.add(losses(predictions, batch))
            for name, metric in aucs.items():
                inside = has_inside(recipe.tasks[name])
                rows = LabelledRows(recipe, name, predictions, batch, inside=inside)
                if len(rows.label):
                    metric.update(rows.read_by(auc), rows.label)
    metrics = means.values()
    return {
        name: Scores(
            aucs[name].compute() if name in aucs and aucs[name].update_called else None,
            metrics.get(key(name, "loss")),
        )
        for name in labelled
    }


def _predict(
    run: Trained, batch: Batch, target: Target | None, seed: tuple[int, ...]
) -> Mapping[str, Tensor]:
    predictions: Mapping[str, Tensor]
    if target is None:
        predictions = run.module(batch)
        return predictions
    shuffled = np.random.default_rng(seed).permutation(batch.num_rows)
    order = torch.from_numpy(shuffled).to(run.device)
    with target.hooked(order):
        predictions = run.module(target.batch(batch, order))
        return predictions


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _spread(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and standard deviation (0 of a single value); None where a value is missing."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(known) < len(values) or not known:
        return None, None
    return fmean(known), stdev(known) if len(known) > 1 else 0.0
