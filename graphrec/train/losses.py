"""Losses of a recipe's tasks, with sample weights, task spaces and missing labels.

For a task, a_i is the row's weight (1, times its sample weight, times inside or outside of the
task's space; 0 where the label is missing), and its loss is task weight * sum(a_i l_i) / sum(a_i):
the mean over the rows inside. Scaling all a_i changes nothing; without any row inside it is 0.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphrec.data.chunk import NULL_KEY
from graphrec.ground.errors import Problem, RecipeError
from graphrec.nn.batch import Batch
from graphrec.recipe.loss_table import Loss
from graphrec.recipe.model import Recipe, Task
from graphrec.recipe.tasks import form_of, is_lognormal, loss_parameters, suffix
from graphrec.train.loss_rows import bce
from graphrec.train.retrieval_loss import PART, retrieval_loss
from graphrec.train.whole_rows import every_row_counts, mean_bce

__all__ = [
    "Losses",
    "TaskLosses",
    "check_learns",
    "compute",
    "group_numbers",
    "is_computed",
    "score",
]

PENALTY = "_loss"
"""Ending of the numbers that a module returns beside its predictions: penalties, loss blocks."""


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
            _TaskLoss(recipe, name) for name, task in sorted(recipe.tasks.items()) if task.loss
        ]

        self._terms, self._retrieval = recipe.losses, recipe.retrieval
        self.teachers: Mapping[str, Callable[[Mapping[str, Tensor], Batch], Tensor]] = {}
        """Terms that trained runs give, by name; the trainer has them, evaluation has none."""
        self.step: int | None = None
        """The step that is made; None counts every term, as evaluation does."""

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
            if not is_computed(task.task, task.source, predictions):
                continue
            norm = None if norms is None else norms[number]
            task.add(predictions, batch, parts, mass, missing, norm)
        for key, value in predictions.items():
            if key.endswith(PENALTY) and value.dim() == 0:
                parts[key] = value * self._factor(key.removesuffix(PENALTY))
        for name, teacher in self.teachers.items():
            parts[name + PENALTY] = teacher(predictions, batch) * self._factor(name)
        if self._retrieval is not None and batch.compared is not None:
            parts[PART], mass[PART] = retrieval_loss(self._retrieval, predictions, batch)
        total = torch.stack(list(parts.values())).sum() if parts else torch.zeros(())
        return Losses(total, parts, mass, missing)

    def _factor(self, name: str) -> float:
        """Of a term of the recipe's `losses:`, its weight once it counts; 1 for others."""
        term = self._terms.get(name)
        if term is None:
            return 1.0
        return term.weight if self.step is None or self.step >= term.from_step else 0.0


def check_learns(losses: Losses) -> None:
    """Raise RecipeError (GR410) where no weight that is trained changes any loss."""
    if not losses.total.requires_grad:
        raise RecipeError(
            Problem(
                "GR410",
                "there is nothing to train: no loss depends on a weight that may change",
                path="graph",
                help="let a table change (trainable: true), put a block with weights before the "
                "task (in: instead of logit:), or take away detach()",
            )
        )


def compute(recipe: Recipe, predictions: Mapping[str, Tensor], batch: Batch) -> Losses:
    """The losses of one batch; keep a `TaskLosses` when there are many."""
    return TaskLosses(recipe)(predictions, batch)


def is_computed(task: Task, key: str, predictions: Mapping[str, Tensor]) -> bool:
    """Whether a prediction is there; those of a task of training alone may not be."""
    return task.when != "train" or key in predictions


def score(recipe: Recipe, task: str, predictions: Mapping[str, Tensor]) -> Tensor:
    """What metrics compare with the label: probabilities [B] or [B, C], or predicted values [B]."""
    ending = suffix(recipe, task)
    if "probs1" + ending in predictions:
        return predictions["probs1" + ending]
    return predictions[("y" if form_of(recipe, task) == "regression" else "probs") + ending]


class _TaskLoss:
    def __init__(self, recipe: Recipe, name: str) -> None:
        self.name, self.task, self.suffix = name, recipe.tasks[name], suffix(recipe, name)
        wanted = form_of(recipe, name)
        source = {"regression": "y", "prob": "probs"}.get(wanted, "logits")
        self.source = ("logits" if is_lognormal(recipe, name) else source) + self.suffix
        self.classes = wanted == "softmax"
        self.rows: dict[str, _Rows] = {}
        for loss, given in self.task.loss.items():
            declared = loss_parameters(recipe, loss, given)
            path = declared.rows_of_prob if wanted == "prob" else declared.rows
            self.rows[loss] = _Rows(path, declared)
        weighted = self.task.sample_weight is not None or self.task.space is not None
        # Losses with parameters and others' own functions take the way of the table.
        self.plain = not weighted and all(rows.is_plain_bce for rows in self.rows.values())

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
        if norm is None and self._is_plain(output, label):
            self._add_plain(output, label, parts, mass, missing)
            return
        known = label.isfinite() if label.is_floating_point() else label >= 0
        label = torch.where(known, label, torch.zeros_like(label))
        label = label.long() if self.classes else label.to(output.dtype)
        weight = self._weight(batch, known, output)
        norm = weight.sum() if norm is None else norm.to(weight)
        # A sum that is 0, NaN or infinite makes every w_i = nz(a_i / mean(a)) vanish.
        scale = torch.where(
            (norm != 0) & norm.isfinite(), self.task.weight / norm, torch.zeros_like(norm)
        )
        plain = torch.where(weight.isfinite(), weight, torch.zeros_like(weight))
        weight = plain * scale
        for loss, rows in self.rows.items():
            value = rows(output, label, known, batch, plain)
            parts[loss + self.suffix] = (
                torch.where(known, value, torch.zeros_like(value)) * weight
            ).sum()
            mass[loss + self.suffix] = norm.detach()
        missing[self.name] = (~known).sum()

    def _is_plain(self, output: Tensor, label: Tensor) -> bool:
        """Whether the loss is a mean of binary cross entropies, each row counting as much."""
        return (
            self.plain
            and type(output) is Tensor
            and output.device.type == "cpu"
            and output.dtype == label.dtype == torch.float32
            and output.shape == label.shape
            and len(label) > 0
            and every_row_counts(label)
        )

    def _add_plain(
        self,
        output: Tensor,
        label: Tensor,
        parts: dict[str, Tensor],
        mass: dict[str, Tensor],
        missing: dict[str, Tensor],
    ) -> None:
        for loss in self.rows:
            parts[loss + self.suffix] = mean_bce(output, label, self.task.weight)
            mass[loss + self.suffix] = torch.tensor(float(len(label)))
        missing[self.name] = torch.tensor(0)

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


class _Rows:
    """The loss of each row [B] by the function that the table names; rows without a label get 0."""

    def __init__(self, path: str, declared: Loss) -> None:
        module, _, name = path.partition(":")
        self._compute: Callable[..., Tensor] = getattr(importlib.import_module(module), name)
        self._given, self._column = declared.given(), declared.group_column
        self._weighs = declared.weighs
        self.is_plain_bce = self._compute is bce and self._given == type(declared)().given()

    def __call__(
        self, output: Tensor, label: Tensor, known: Tensor, batch: Batch, weight: Tensor
    ) -> Tensor:
        """`weight` [B] is what each row counts, finite."""
        beside = {"weight": weight} if self._weighs else {}
        if self._column is None:
            return self._compute(output, label, **beside, **self._given)
        # Rows of a group meet each other: those without a label must meet nobody.
        beside["group"] = group_numbers(batch.columns[self._column], output.device)
        if bool(known.all()):
            return self._compute(output, label, **beside, **self._given)
        at = known.nonzero().view(-1)
        beside = {name: value[at] for name, value in beside.items()}
        part = self._compute(output[at], label[at], **beside, **self._given)
        return part.new_zeros(len(label)).index_copy(0, at, part)


def group_numbers(column: Any, device: torch.device) -> Tensor:
    """Numbers from 0 for keys of any size [B]; each row without a key is a group of its own."""
    keys = np.asarray(column)
    known, codes = np.unique(keys, return_inverse=True)
    codes = np.where(keys == NULL_KEY, len(known) + np.arange(len(keys)), codes)
    return torch.from_numpy(codes).to(device)
