"""Random predictions and labels for a loss or metric: a task that has it, and batches of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphrec.nn.batch import Batch
from graphrec.recipe.loss_table import Form, Loss
from graphrec.recipe.measures import Measures
from graphrec.recipe.metric_table import Metric
from graphrec.recipe.model import Recipe

__all__ = ["ROWS", "Case", "cases"]

ROWS, _GROUPS = 24, 5
_KINDS = {"binary": "binary", "prob": "binary", "softmax": "multiclass", "regression": "regression"}


@dataclass(frozen=True)
class Case:
    """A task `t` with a loss or metric, predicted as `form`; a weight and a space at every row."""

    measure: type[Loss] | type[Metric]
    given: Mapping[str, Any]
    form: Form
    classes: int

    def recipe(self, **task: Any) -> Recipe:
        """The recipe of this task alone, with these settings besides."""
        own: dict[str, Any] = {"label": {"column": "y"}, "kind": _KINDS[self.form]}
        if self.form == "softmax":
            own["classes"] = self.classes
            own["kind"] = "binary" if self.classes == 2 else "multiclass"
        # The probability of another task, which has no loss: the same numbers as `prob`.
        own |= {"prob": "other.prob"} if self.form == "prob" else {"in": "x"}
        usual = {"softmax": "softmax", "regression": "l2"}.get(self.form, "bce")
        if issubclass(self.measure, Loss):
            own |= {"loss": {self.measure.name: dict(self.given)}, "metrics": []}
        else:
            own |= {"loss": {usual: {}}, "metrics": [_written(self.measure, self.given)]}
        tasks = {"t": {**own, **task}}
        if self.form == "prob":
            tasks["other"] = {"in": "x", "loss": {}, "metrics": []}
        features = {"x": {"type": "dense", "name": "x"}}
        recipe = Recipe.model_validate(
            {"graphrec": 1, "name": "term", "features": features, "tasks": tasks}
        )
        builtin = Measures()
        known = {**builtin.losses, **builtin.metrics}.get(self.measure.name)
        return (
            recipe
            if known is self.measure
            else recipe.with_measures(builtin.with_measures(self.measure))
        )

    def output(self, rows: int = ROWS, seed: int = 0) -> Tensor:
        """Predictions as the loss reads them: logits, values or probabilities, float64."""
        draw = torch.Generator().manual_seed(seed)
        sizes = (rows, self.classes) if self.classes > 1 else (rows,)
        values = torch.randn(sizes, generator=draw, dtype=torch.float64) * 2
        return torch.sigmoid(values) if self.form == "prob" else values

    def predictions(self, output: Tensor) -> dict[str, Tensor]:
        """What a module returns for such predictions."""
        if self.form == "regression":
            return {"logits" if self.classes > 1 else "y": output}
        if self.form == "prob":
            return {"probs_t": output, "logits_other": torch.logit(output), "probs_other": output}
        if self.form == "binary":
            return {"logits": output, "probs": torch.sigmoid(output)}
        probs = torch.softmax(output, 1)
        predicted = {"logits": output, "probs": probs}
        return predicted | ({"probs1": probs[:, 1]} if self.classes == 2 else {})

    def batch(self, rows: int = ROWS, seed: int = 1) -> Batch:
        """Labels, weights, spaces and groups of so many rows."""
        draw = np.random.default_rng(seed)
        label: Tensor = torch.from_numpy(draw.integers(0, max(self.classes, 2), rows))
        if self.form == "regression":
            label = torch.from_numpy(draw.random(rows) * 3)
        if self.form != "softmax":
            label = label.float()
        weight = torch.from_numpy(draw.random(rows).astype(np.float32) + 0.5)
        columns: dict[str, Any] = {"inside": draw.integers(0, 2, rows).astype(np.float32)}
        columns |= {
            str(name): draw.integers(0, _GROUPS, rows)
            for name in [self.given.get(self.measure.group)]
            if name
        }
        return Batch({}, {"t": label}, {"t": weight}, columns)


def cases(term: type[Loss] | type[Metric], given: Mapping[str, Any]) -> list[Case]:
    """One for each kind of prediction that fits; a group's column is guessed."""
    filled = {**({term.group: "column"} if term.group else {}), **given}
    fitting = []
    for form in term.forms:
        two = term.two_classes
        counts = ([2] if two else [2, 4]) if form == "softmax" else [1]
        if issubclass(term, Loss) and term.lognormal:
            counts = [3]
        fitting += [Case(term, filled, form, count) for count in counts]
    return fitting


def _written(term: type[Loss] | type[Metric], given: Mapping[str, Any]) -> str:
    parts = [f"{name}={str(v).lower() if isinstance(v, bool) else v}" for name, v in given.items()]
    return f"{term.name}({', '.join(parts)})" if parts else term.name


def taken(batch: Batch, rows: Any) -> Batch:
    """Some rows of a batch, in this order."""
    at = torch.as_tensor(rows)
    return Batch(
        {},
        {name: label[at] for name, label in batch.labels.items()},
        {name: weight[at] for name, weight in batch.weights.items()},
        {name: np.asarray(column)[at.numpy()] for name, column in batch.columns.items()},
    )
