"""What tasks say: how they are predicted, their losses and metrics, and the names of numbers."""

from __future__ import annotations

from collections.abc import Mapping

from graphrec.recipe.calls import Call
from graphrec.recipe.loss_table import Form, Loss
from graphrec.recipe.metric_table import Decay, Metric
from graphrec.recipe.model import Recipe, Task
from graphrec.recipe.retrieval import RETRIEVAL

__all__ = [
    "INSIDE",
    "Form",
    "decay_parameters",
    "form_of",
    "grouping_columns",
    "has_inside",
    "has_two_outcomes",
    "is_lognormal",
    "key",
    "loss_parameters",
    "metric_parameters",
    "own_form",
    "read_metric",
    "selection",
    "suffix",
]

INSIDE = ".inside"
"""Ending of keys of metrics over the rows of a task's space alone: `buy.auc.inside`."""


def _form(task: Task, losses: Mapping[str, type[Loss]]) -> Form:
    if task.prob is not None:
        return "prob"
    if task.kind == "regression":
        return "regression"
    if task.kind == "multiclass" or any(
        losses[name].forms == ("softmax",) for name in task.loss if name in losses
    ):
        return "softmax"
    return "binary"


def form_of(recipe: Recipe, task: str) -> Form:
    """How the task is predicted in this recipe: a relation may make its probability a product."""
    product = any(r.via == "product" and r.child == task for r in recipe.relations)
    return "prob" if product else own_form(recipe, task)


def own_form(recipe: Recipe, task: str) -> Form:
    """How the task's own head predicts, from its kind and losses, whatever relations make of it."""
    return _form(recipe.tasks[task], recipe.measures.losses)


def is_lognormal(recipe: Recipe, task: str) -> bool:
    """Whether the task's head gives the three numbers of a zero-inflated lognormal."""
    losses = recipe.measures.losses
    return any(losses[name].lognormal for name in recipe.tasks[task].loss if name in losses)


def has_two_outcomes(recipe: Recipe, task: str) -> bool:
    """Whether one probability says all: of a logit, a product, or one of two classes."""
    wanted = form_of(recipe, task)
    return wanted in ("binary", "prob") or (wanted == "softmax" and recipe.tasks[task].classes == 2)


def suffix(recipe: Recipe, task: str) -> str:
    """What follows `logits`, `probs` or `y` in predictions: `_<task>`, or nothing with one task."""
    return "" if len(recipe.tasks) == 1 else f"_{task}"


def key(task: str, metric: Call | str) -> str:
    """Name of a number in metrics.jsonl: `ctr.auc`, `ctr.gauc(user_id)`."""
    return f"{task}.{metric}"


def has_inside(task: Task) -> bool:
    """Whether the task's metrics are also told for the rows of its space alone."""
    return task.space is not None and task.space.outside == 0


def loss_parameters(recipe: Recipe, name: str, given: Mapping[str, object]) -> Loss:
    """The checked parameters of a loss."""
    return recipe.measures.losses[name].model_validate(dict(given))


def metric_parameters(recipe: Recipe, call: Call) -> Metric:
    """The checked parameters of a metric; ValueError when the arguments do not fit."""
    return read_metric(call, recipe.measures.metrics)


def read_metric(call: Call, metrics: Mapping[str, type[Metric]]) -> Metric:
    """The checked parameters of one of these metrics."""
    wanted = metrics[call.name]
    if len(call.args) > len(wanted.positional):
        raise ValueError(
            f"takes {len(wanted.positional)} arguments without a name, got {len(call.args)}"
        )
    given = dict(zip(wanted.positional, call.args, strict=False))
    twice = sorted(set(given) & set(call.kwargs))
    if twice:
        raise ValueError(f"`{twice[0]}` is given twice")
    return wanted.model_validate({**given, **call.kwargs})


def decay_parameters(call: Call) -> Decay:
    """How a training metric decays, from its arguments."""
    if call.args:
        raise ValueError("takes named arguments only: step, rate, bins")
    return Decay.model_validate(dict(call.kwargs))


def grouping_columns(recipe: Recipe) -> tuple[str, ...]:
    """Features or columns whose raw values metrics, sessions and spaces need beside the batch."""
    columns: set[str | None] = set()
    labels = {task.label.column for task in recipe.tasks.values() if task.label}
    for task in recipe.tasks.values():
        for call in task.metrics:
            columns.add(metric_parameters(recipe, call).group_column)
        for name, given in task.loss.items():
            columns.add(loss_parameters(recipe, name, given).group_column)
        if task.space is not None and task.space.label not in labels:
            columns.add(task.space.label)
    return tuple(sorted(column for column in columns if column))


def selection(recipe: Recipe, wanted: str) -> tuple[list[str], bool]:
    """The keys of an evaluation record that `ctr.auc` (or `auc`: the mean over tasks) stands for.

    Returns the keys, empty when there are none, and whether more is better.
    """
    names = [
        (key(task, call), call) for task, spec in recipe.tasks.items() for call in spec.metrics
    ]
    if recipe.retrieval is not None:
        known = {key(RETRIEVAL, call): str(call) for call in recipe.retrieval.metrics}
        ends = [k for k, call in known.items() if wanted in (k, call)]
        return ends or [k for k in ("loss", key(RETRIEVAL, "loss")) if wanted == k], bool(ends)
    chosen = [(k, call) for k, call in names if wanted in (k, str(call))]
    chosen += [
        (key(task, call) + INSIDE, call)
        for task, spec in recipe.tasks.items()
        for call in (spec.metrics if has_inside(spec) else ())
        if wanted == key(task, call) + INSIDE
    ]
    if not chosen and wanted == "loss":
        return ["loss"], False
    if not chosen:
        terms = [key(name, "loss") for name in (*recipe.tasks, *recipe.losses)]
        losses = [term for term in terms if term == wanted]
        return losses, False
    declared = recipe.measures.metrics.get(chosen[0][1].name)
    return [k for k, _ in chosen], declared is not None and declared.higher
