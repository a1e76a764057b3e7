"""Losses of a recipe's tasks, with sample weights, task spaces and missing labels.

For a task, a_i is the row's weight (1, times its sample weight, times inside or outside of the
task's space; 0 where the label is missing), and its loss is task weight * sum(a_i l_i) / sum(a_i):
the mean over the rows inside. Scaling all a_i changes nothing; without any row inside it is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from graphrec.data.chunk import NULL_KEY
from graphrec.nn.batch import Batch
from graphrec.recipe.model import Recipe, Task
from graphrec.recipe.tasks import LOSSES, Form, form_of, loss_parameters, suffix

__all__ = ["Losses", "TaskLosses", "compute", "jrc_rows", "score"]

PENALTY = "_loss"
"""Ending of the numbers that a module returns beside its predictions: penalties, loss blocks."""

Rows = Callable[[Tensor, Tensor, Batch], Tensor]


@dataclass
class Losses:
    """One batch's losses: `total` is what is differentiated, `parts` its terms by name.

    `mass` is each part's sum of row weights (for averaging over batches), `missing` the number of
    rows without a label by task, `balanced` whether the total is another than the parts' sum.
    """

    total: Tensor
    parts: dict[str, Tensor]
    mass: dict[str, Tensor]
    missing: dict[str, Tensor]
    balanced: bool = False


class TaskLosses:
    """The losses of a recipe, ready to be computed on batches."""

    def __init__(self, recipe: Recipe) -> None:
        self._tasks = [
            _TaskLoss(name, task, suffix(recipe, name), form_of(recipe, name))
            for name, task in sorted(recipe.tasks.items())
            if task.loss
        ]

    def keys(self) -> dict[str, dict[str, str]]:
        """Part keys by task and loss name: `{"ctr": {"bce": "bce_ctr"}}`."""
        return {task.name: {loss: loss + task.suffix for loss in task.rows} for task in self._tasks}

    def norms(self, batch: Batch) -> Tensor:
        """Sum of the row weights of every task in a batch [tasks]: what its loss is divided by."""
        return (
            torch.stack([task.norm(batch) for task in self._tasks])
            if self._tasks
            else torch.zeros(0)
        )

    def __call__(
        self, predictions: Mapping[str, Tensor], batch: Batch, norms: Tensor | None = None
    ) -> Losses:
        """The losses; `norms` are those of the whole batch where this is a part of it."""
        parts: dict[str, Tensor] = {}
        mass: dict[str, Tensor] = {}
        missing: dict[str, Tensor] = {}
        for number, task in enumerate(self._tasks):
            norm = None if norms is None else norms[number]
            task.add(predictions, batch, parts, mass, missing, norm)
        for key, value in predictions.items():
            if key.endswith(PENALTY) and value.dim() == 0:
                parts[key] = value
        total = torch.stack(list(parts.values())).sum() if parts else torch.zeros(())
        return Losses(total, parts, mass, missing)


def compute(recipe: Recipe, predictions: Mapping[str, Tensor], batch: Batch) -> Losses:
    """The losses of one batch; keep a `TaskLosses` when there are many."""
    return TaskLosses(recipe)(predictions, batch)


def score(recipe: Recipe, task: str, predictions: Mapping[str, Tensor]) -> Tensor:
    """What metrics compare with the label: probabilities [B] or [B, C], or predicted values [B]."""
    ending = suffix(recipe, task)
    if "probs1" + ending in predictions:
        return predictions["probs1" + ending]
    return predictions[("y" if form_of(recipe, task) == "regression" else "probs") + ending]


class _TaskLoss:
    def __init__(self, name: str, task: Task, ending: str, wanted: Form) -> None:
        self.name, self.task, self.suffix = name, task, ending
        self.source = {"regression": "y", "prob": "probs"}.get(wanted, "logits") + ending
        self.rows: dict[str, Rows] = {
            loss: _rows(loss, given, prob=wanted == "prob") for loss, given in task.loss.items()
        }
        self.classes = wanted == "softmax"

    def add(
        self,
        predictions: Mapping[str, Tensor],
        batch: Batch,
        parts: dict[str, Tensor],
        mass: dict[str, Tensor],
        missing: dict[str, Tensor],
        norm: Tensor | None,
    ) -> None:
        output = predictions[self.source].float()
        label = batch.labels[self.name].to(output.device)
        known = label.isfinite() if label.is_floating_point() else label >= 0
        label = torch.where(known, label, torch.zeros_like(label))
        label = label.long() if self.classes else label.to(output.dtype)
        weight = self._weight(batch, known, output)
        norm = weight.sum() if norm is None else norm.to(weight)
        # A sum that is 0, NaN or infinite makes every w_i = nz(a_i / mean(a)) vanish.
        scale = torch.where(
            (norm != 0) & norm.isfinite(), self.task.weight / norm, torch.zeros_like(norm)
        )
        weight = torch.where(weight.isfinite(), weight, torch.zeros_like(weight)) * scale
        if self.classes:
            label = torch.where(known, label, torch.full_like(label, -1))
        for loss, rows in self.rows.items():
            key = loss + self.suffix
            value = rows(output, label, batch)
            parts[key] = (torch.where(known, value, torch.zeros_like(value)) * weight).sum()
            mass[key] = norm.detach()
        missing[self.name] = (~known).sum()

    def norm(self, batch: Batch) -> Tensor:
        """Sum of the rows' weights, before any model has run."""
        label = batch.labels[self.name]
        known = label.isfinite() if label.is_floating_point() else label >= 0
        return self._weight(batch, known, known.float()).sum()

    def _weight(self, batch: Batch, known: Tensor, output: Tensor) -> Tensor:
        weight = known.to(output.dtype)
        if self.task.sample_weight is not None:
            weight = weight * batch.weights[self.name].to(weight)
        if self.task.space is not None:
            inside = torch.from_numpy(np.asarray(batch.columns[self.task.space.label]) > 0)
            factor = torch.where(inside, self.task.space.inside, self.task.space.outside)
            weight = weight * factor.to(weight)
        return weight


def _rows(name: str, given: Mapping[str, Any], *, prob: bool) -> Rows:
    p: Any = loss_parameters(name, given)
    if name == "bce":
        return lambda z, y, _: _bce(z, y, p.label_smoothing, prob)
    if name == "focal":
        return lambda z, y, _: _focal(z, y, p.gamma, p.alpha)
    if name == "softmax":
        return lambda z, y, _: F.cross_entropy(
            z, y, ignore_index=-1, label_smoothing=p.label_smoothing, reduction="none"
        )
    if name == "jrc":
        return lambda z, y, batch: jrc_rows(z, y, _sessions(batch.columns[p.session], y), p.alpha)
    assert name == "l2", f"no rows for {sorted(LOSSES)}"
    return lambda z, y, _: (z - y) ** 2


def _bce(output: Tensor, label: Tensor, smoothing: float, prob: bool) -> Tensor:
    target = label * (1 - smoothing) + smoothing / 2
    if prob:
        p = output.clamp(1e-7, 1 - 1e-7)
        return -(target * torch.log(p) + (1 - target) * torch.log1p(-p))
    return F.binary_cross_entropy_with_logits(output, target, reduction="none")


def _focal(logits: Tensor, label: Tensor, gamma: float, alpha: float) -> Tensor:
    p = torch.sigmoid(logits.detach())
    factor = alpha * label * (1 - p) ** gamma + (1 - alpha) * (1 - label) * p**gamma
    return factor * F.binary_cross_entropy_with_logits(logits, label, reduction="none")


def jrc_rows(logits: Tensor, label: Tensor, session: Tensor, alpha: float) -> Tensor:
    """JRC's loss of every row [B]: logits [B, 2], label [B] (-1: left out), session [B] >= 0.

    The rows of a session with the other label meet a row in the logit of *its* class, and so does
    every row of that class: one log-sum-exp for each session and class serves all, in O(B).
    """
    known = label >= 0
    own = label.clamp(min=0)
    z = logits.gather(1, own[:, None])[:, 0]
    other = logits.gather(1, 1 - own[:, None])[:, 0]
    ce = F.cross_entropy(logits, label, ignore_index=-1, reduction="none")
    # Row j enters the groups (its session, the other class) with its logit of that class.
    group, enters = session * 2 + own, session * 2 + (1 - own)
    count = int(session.max()) * 2 + 2 if session.numel() else 0
    entered = torch.where(known, other, torch.full_like(other, -torch.inf))
    top = torch.full((count,), -torch.inf, dtype=z.dtype, device=z.device)
    top = top.scatter_reduce(0, enters, entered.detach(), "amax")
    present = top.isfinite()
    top = torch.where(present, top, torch.zeros_like(top))
    terms = known * torch.exp(torch.where(known, other - top[enters], torch.zeros_like(other)))
    total = torch.zeros_like(top).index_add(0, enters, terms)
    sums = top + torch.log(torch.where(present, total, torch.ones_like(total)))
    some = present[group] & known
    gap = torch.where(some, sums[group] - z, torch.zeros_like(z))
    ge = torch.where(some, F.softplus(gap), torch.zeros_like(z))
    return alpha * ce + (1 - alpha) * ge


def _sessions(column: Any, like: Tensor) -> Tensor:
    """Session numbers from keys of any size; rows without a session are sessions of their own."""
    keys = np.asarray(column)
    known, codes = np.unique(keys, return_inverse=True)
    codes = np.where(keys == NULL_KEY, len(known) + np.arange(len(keys)), codes)
    return torch.from_numpy(codes).to(like.device)
