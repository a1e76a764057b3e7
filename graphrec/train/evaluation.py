"""One pass over evaluation rows: losses, metrics and calibration of every task, as one record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graphrec.data.items import Items
from graphrec.nn.batch import Batch
from graphrec.recipe.calls import Call
from graphrec.recipe.model import Recipe, Task
from graphrec.recipe.retrieval import RETRIEVAL
from graphrec.recipe.tasks import (
    INSIDE,
    form_of,
    has_inside,
    key,
    metric_parameters,
    suffix,
)
from graphrec.train.checkpoint import Position
from graphrec.train.losses import TaskLosses, is_computed, score
from graphrec.train.metrics import make_metric
from graphrec.train.ranking import ranking_scores
from graphrec.train.retrieval_scores import RetrievalScores

__all__ = ["Calibration", "Evaluator", "LabelledRows", "LossMeans", "eval_record"]

Forward = Callable[[Batch], dict[str, Tensor]]

_TOTAL = "balanced total"
"""What is summed beside the losses where their sum is not what is optimised."""


class Evaluator:
    """Evaluates a module on batches; `calibration` belongs to the last pass, by binary task."""

    def __init__(self, recipe: Recipe, device: torch.device, items: Items | None = None) -> None:
        self.recipe, self.device, self.items = recipe, device, items
        self.losses = TaskLosses(recipe)
        self.calibration: dict[str, Calibration] = {}

    def run(
        self,
        module: nn.Module,
        forward: Forward,
        batches: Iterable[Batch],
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any] | None:
        """The record's numbers (`rows`, `seconds`, `loss`, `<task>.auc`, ...); None if stopped."""
        scores = [s for name in self.recipe.tasks for s in _task_scores(name, self.recipe)]
        means, rows, start = LossMeans(self.losses), 0, time.perf_counter()
        training = module.training
        module.eval()
        try:
            with torch.no_grad():
                retrieval = self._retrieval(module)
                for batch in batches:
                    if stop():
                        return None
                    batch = batch.to(self.device)
                    rows += batch.num_rows
                    if retrieval is not None:
                        retrieval.add(module.encode_query(batch), batch)  # type: ignore[operator]
                        continue
                    predictions = forward(batch)
                    means.add(self.losses(predictions, batch))
                    for task in scores:
                        task.add(predictions, batch)
        finally:
            module.train(training)
        self.calibration = {task.name: task.calibration for task in scores if task.calibration}
        seconds = time.perf_counter() - start
        record: dict[str, Any] = {"rows": rows, "seconds": round(seconds, 3), **means.values()}
        for task in scores:
            record.update(task.values())
        if retrieval is not None:
            record.update(retrieval.values())
            record["loss"] = record[key(RETRIEVAL, "loss")]
        return record

    def _retrieval(self, module: nn.Module) -> RetrievalScores | None:
        """What measures a retriever: its items are encoded once, before the rows."""
        if self.recipe.retrieval is None:
            return None
        assert self.items is not None, "who evaluates a retriever has its items"
        return RetrievalScores(self.recipe.retrieval, self.items, module, self.device)


def eval_record(measured: Mapping[str, Any], position: Position, waited: float) -> dict[str, Any]:
    """A line of metrics.jsonl from an evaluation's numbers."""
    seconds = measured["seconds"]
    return {
        "kind": "eval",
        "step": position.step,
        "epoch": position.epoch,
        "rows": measured["rows"],
        "seconds": seconds,
        "loss": measured["loss"],
        "rows_per_s": round(measured["rows"] / seconds, 1) if seconds else None,
        "loader_share": round(min(waited / seconds, 1.0), 4) if seconds else None,
        **{name: value for name, value in measured.items() if "." in name},
    }


class LossMeans:
    """Means of losses over batches, weighted by the rows' weights; `values()` by record key."""

    def __init__(self, losses: TaskLosses) -> None:
        self.keys = losses.keys()
        self.sums: dict[str, tuple[float, float]] = {}

    def add(self, loss: Any) -> None:
        """Add one batch's `Losses`."""
        # Numbers of Python: a tensor's operation takes longer than all of them.
        for name, value in loss.parts.items():
            mass = float(loss.mass[name]) if name in loss.mass else 1.0
            self._add(name, float(value.detach()) * mass, mass)
        if loss.balanced:
            self._add(_TOTAL, float(loss.total.detach()), 1.0)

    def _add(self, name: str, total: float, mass: float) -> None:
        before = self.sums.get(name, (0.0, 0.0))
        self.sums[name] = before[0] + total, before[1] + mass

    def values(self) -> dict[str, float | None]:
        """`loss` is the total; a task's own, its terms where it has several; then the others.

        A loss without any row that counts is None; the total is the sum of those that there are.
        """
        means = {n: total / mass for n, (total, mass) in self.sums.items() if mass > 0}
        of_tasks = {part for parts in self.keys.values() for part in parts.values()}
        balanced = means.pop(_TOTAL, None)
        total = sum(means.values()) if balanced is None else balanced
        any_rows = not of_tasks or bool(of_tasks & means.keys())
        numbers: dict[str, float | None] = {"loss": _finite(total) if any_rows else None}
        for task, parts in self.keys.items():
            known = {loss: means[part] for loss, part in parts.items() if part in means}
            numbers[key(task, "loss")] = _finite(sum(known.values())) if known else None
            if len(parts) > 1:
                numbers.update({key(task, loss): _finite(known.get(loss)) for loss in parts})
        for name in means.keys() - of_tasks:  # loss blocks and penalties: `nce_loss`
            numbers.setdefault(f"{name.removesuffix('_loss')}.loss", _finite(means[name]))
        return numbers


class Calibration:
    """Mean prediction against observed rate, from counts in fine bins of the logit."""

    _BINS, _SPAN = 8192, 16.0

    def __init__(self) -> None:
        self.sums = np.zeros((3, self._BINS))

    def add(self, score: Tensor, target: Tensor) -> None:
        """Add probabilities [B] with labels [B]."""
        p = score.double().clamp(1e-7, 1 - 1e-7)
        place = (torch.logit(p) + self._SPAN) / (2 * self._SPAN) * self._BINS
        bins = place.long().clamp(0, self._BINS - 1).numpy()
        for row, mass in enumerate((None, score.double().numpy(), target.double().numpy())):
            self.sums[row] += np.bincount(bins, mass, minlength=self._BINS)

    def parts(self, number: int = 10) -> list[tuple[int, float, float]]:
        """(rows, mean prediction, rate) of about `number` equally large parts, rising."""
        rows = self.sums[0]
        ends = np.minimum(np.cumsum(rows) / max(rows.sum(), 1) * number, number - 1e-9).astype(int)
        parts = []
        for part in range(number):
            n, predicted, positive = self.sums[:, ends == part].sum(axis=1)
            if n:
                parts.append((int(n), predicted / n, positive / n))
        return parts


def _task_scores(name: str, recipe: Recipe) -> list[_TaskScores]:
    """What is measured of a task: all rows, and those of its space where it has one."""
    task = recipe.tasks[name]
    if task.label is None:
        return []
    sides = [False, True] if has_inside(task) else [False]
    return [_TaskScores(name, task, recipe, inside) for inside in sides]


class _TaskScores:
    def __init__(self, name: str, task: Task, recipe: Recipe, inside: bool) -> None:
        self.name, self.task, self.recipe, self.inside = name, task, recipe, inside
        known = recipe.measures.metrics
        self.metrics = {call: make_metric(call, known, logits=True) for call in task.metrics}
        self.groups = {c: metric_parameters(recipe, c).group_column for c in task.metrics}
        probable = task.kind == "binary" and form_of(recipe, name) != "regression"
        self.calibration = Calibration() if probable and inside == has_inside(task) else None

    def add(self, predictions: Mapping[str, Tensor], batch: Batch) -> None:
        if not self.metrics and self.calibration is None:
            return
        key = "y" if form_of(self.recipe, self.name) == "regression" else "probs"
        if not is_computed(self.task, key + suffix(self.recipe, self.name), predictions):
            return
        rows = LabelledRows(self.recipe, self.name, predictions, batch, inside=self.inside)
        if not len(rows.label):
            return
        weight = batch.weights.get(self.name)
        weight = weight.cpu()[rows.known] if weight is not None else None
        keep = rows.known.numpy()
        for call, metric in self.metrics.items():
            column = self.groups[call]
            group = None if column is None else np.asarray(batch.columns[column])[keep]
            metric.update(rows.read_by(call), rows.label, weight, group)
        if self.calibration is not None:
            self.calibration.add(rows.scores, rows.label)

    def values(self) -> dict[str, float | None]:
        return {
            key(self.name, call) + (INSIDE if self.inside else ""): _finite(metric.compute())
            if metric.update_called
            else None
            for call, metric in self.metrics.items()
        }


class LabelledRows:
    """The rows of a batch that have a task's label, perhaps only those inside its space.

    `known` [B] tells which; `label` [N], `scores` and `ranks` are theirs, on the CPU.
    """

    def __init__(
        self,
        recipe: Recipe,
        name: str,
        predictions: Mapping[str, Tensor],
        batch: Batch,
        *,
        inside: bool = False,
    ) -> None:
        self._recipe, self._name, self._predictions = recipe, name, predictions
        label = batch.labels[name].cpu()
        self.known = label.isfinite() if label.is_floating_point() else label >= 0
        space = recipe.tasks[name].space
        if inside and space is not None:
            self.known &= torch.from_numpy(np.asarray(batch.columns[space.label]) > 0)
        self._all = bool(self.known.all())
        self.label = self._kept(label)

    @cached_property
    def scores(self) -> Tensor:
        """Float32 probabilities [N] or [N, C], or predicted values [N]."""
        scores = score(self._recipe, self._name, self._predictions)
        return self._kept(scores.detach().float().cpu())

    @cached_property
    def ranks(self) -> Tensor:
        """What metrics of order compare; see `ranking_scores`."""
        scores = ranking_scores(self._recipe, self._name, self._predictions)
        return self._kept(torch.from_numpy(scores))

    @cached_property
    def logits(self) -> Tensor:
        """Logits [N, C] of a task over classes."""
        logits = self._predictions["logits" + suffix(self._recipe, self._name)]
        return self._kept(logits.detach().float().cpu())

    def read_by(self, call: Call) -> Tensor:
        """What this metric is computed from."""
        parameters = self._recipe.measures.metrics[call.name]
        if not parameters.ranks:
            return self.scores
        return self.ranks if parameters.two_classes else self.logits

    def _kept(self, values: Tensor) -> Tensor:
        return values if self._all else values[self.known]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
