"""Losses and metrics by name: their parameters, and the predictions they can be computed from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from graphrec.recipe.calls import Call
from graphrec.recipe.model import Recipe, Task

__all__ = [
    "INSIDE",
    "LOSSES",
    "METRICS",
    "Decay",
    "Form",
    "Jrc",
    "LossParameters",
    "MetricParameters",
    "decay_parameters",
    "form",
    "form_of",
    "grouping_columns",
    "has_inside",
    "has_two_outcomes",
    "key",
    "loss_parameters",
    "metric_parameters",
    "selection",
    "suffix",
]

Form = Literal["binary", "softmax", "regression", "prob"]
"""How a task is predicted: logits and probs [B]; logits and probs [B, C]; y [B]; probs [B] only."""


INSIDE = ".inside"
"""Ending of keys of metrics over the rows of a task's space alone: `buy.auc.inside`."""


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class LossParameters(_Parameters):
    """Parameters of a loss; `forms` are the predictions it can be computed from."""

    forms: ClassVar[tuple[Form, ...]]


class Bce(LossParameters):
    """Binary cross entropy; label_smoothing e makes the target y (1 - e) + e / 2."""

    forms = ("binary", "prob")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Focal(LossParameters):
    """Binary cross entropy with a detached factor that fades easy rows (Lin et al., 2017)."""

    forms = ("binary",)
    gamma: Annotated[float, Field(ge=0)] = 2.0
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Softmax(LossParameters):
    """Cross entropy over classes; label_smoothing e gives each class e / C."""

    forms = ("softmax",)
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Jrc(LossParameters):
    """Joint ranking and calibration within sessions (Sheng et al., 2023), two classes."""

    forms = ("softmax",)
    session: str
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5


class L2(LossParameters):
    """Squared error."""

    forms = ("regression",)


LOSSES: Mapping[str, type[LossParameters]] = {
    "bce": Bce,
    "focal": Focal,
    "jrc": Jrc,
    "l2": L2,
    "softmax": Softmax,
}


class MetricParameters(_Parameters):
    """Parameters of a metric.

    `forms` are the predictions it is computed from, `two_classes` whether a softmax must have two,
    `higher` whether more is better, `positional` the names of arguments without a keyword,
    `decays` whether `train_metrics` may ask for it, `ranks` whether it compares the order of rows
    alone, and so reads log-odds instead of probabilities.
    """

    forms: ClassVar[tuple[Form, ...]]
    two_classes: ClassVar[bool] = True
    higher: ClassVar[bool] = False
    positional: ClassVar[tuple[str, ...]] = ()
    decays: ClassVar[bool] = False
    ranks: ClassVar[bool] = False


_BINARY: tuple[Form, ...] = ("binary", "prob", "softmax")


class Auc(MetricParameters):
    """Area under the ROC curve, exact with ties counted half; bins: bounded memory instead."""

    forms = _BINARY
    higher = True
    ranks = True
    decays = True
    bins: Annotated[int, Field(ge=2)] | None = None
    weighted: bool = False


class LogLoss(MetricParameters):
    """Mean negative log likelihood of the probabilities."""

    forms = _BINARY
    two_classes = False
    decays = True
    weighted: bool = False


class NormalizedEntropy(MetricParameters):
    """Log loss over the entropy of the base rate (He et al., 2014)."""

    forms = _BINARY
    decays = True
    weighted: bool = False


class Accuracy(MetricParameters):
    """Share of rows whose most probable class, or probability above the threshold, is right."""

    forms = _BINARY
    two_classes = False
    higher = True
    decays = True
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5


class MulticlassAuc(MetricParameters):
    """Mean over classes of the AUC of one class against the rest."""

    forms = ("softmax",)
    two_classes = False
    higher = True
    ranks = True


class Gauc(MetricParameters):
    """Mean AUC within groups; groups of one class are left out."""

    forms = _BINARY
    higher = True
    ranks = True
    positional = ("column",)
    column: str
    weight: Literal["impressions"] | None = None


class _Error(MetricParameters):
    forms = ("regression", "binary", "prob", "softmax")
    decays = True


class Mae(_Error):
    """Mean absolute error."""


class Mse(_Error):
    """Mean squared error."""


class Rmse(_Error):
    """Root of the mean squared error."""


class Xauc(MetricParameters):
    """Share of pairs in the right order, ties wrong; `sample` pairs instead of all."""

    forms = ("regression", "binary", "prob", "softmax")
    higher = True
    ranks = True
    sample: Annotated[int, Field(ge=1)] | None = None


class Gxauc(MetricParameters):
    """XAUC within groups of two rows or more, weighted by their size."""

    forms = ("regression", "binary", "prob", "softmax")
    higher = True
    ranks = True
    positional = ("column",)
    column: str


METRICS: Mapping[str, type[MetricParameters]] = {
    "accuracy": Accuracy,
    "auc": Auc,
    "gauc": Gauc,
    "gxauc": Gxauc,
    "logloss": LogLoss,
    "mae": Mae,
    "mse": Mse,
    "multiclass_auc": MulticlassAuc,
    "normalized_entropy": NormalizedEntropy,
    "rmse": Rmse,
    "xauc": Xauc,
}


class Decay(_Parameters):
    """How a training metric decays: every `step` updates v <- rate v + (1 - rate) new."""

    step: Annotated[int, Field(ge=1)] = 100
    rate: Annotated[float, Field(ge=0, lt=1)] = 0.9
    bins: Annotated[int, Field(ge=2)] = 200


def form(task: Task) -> Form:
    """How the task is predicted, from its kind and losses."""
    if task.prob is not None:
        return "prob"
    if task.kind == "regression":
        return "regression"
    if task.kind == "multiclass" or any(
        LOSSES[n].forms == ("softmax",) for n in task.loss if n in LOSSES
    ):
        return "softmax"
    return "binary"


def form_of(recipe: Recipe, task: str) -> Form:
    """How the task is predicted in this recipe: a relation may make its probability a product."""
    product = any(r.via == "product" and r.child == task for r in recipe.relations)
    return "prob" if product else form(recipe.tasks[task])


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


def loss_parameters(name: str, given: Mapping[str, object]) -> LossParameters:
    """The checked parameters of a loss."""
    return LOSSES[name].model_validate(dict(given))


def metric_parameters(call: Call) -> MetricParameters:
    """The checked parameters of a metric; ValueError when the arguments do not fit."""
    wanted = METRICS[call.name]
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
    found: set[str] = set()
    labels = {task.label.column for task in recipe.tasks.values() if task.label}
    for task in recipe.tasks.values():
        for call in task.metrics:
            found |= {c for c in [getattr(metric_parameters(call), "column", None)] if c}
        for name, given in task.loss.items():
            parameters = loss_parameters(name, given)
            found |= {parameters.session} if isinstance(parameters, Jrc) else set()
        if task.space is not None and task.space.label not in labels:
            found.add(task.space.label)
    return tuple(sorted(found))


def selection(recipe: Recipe, wanted: str) -> tuple[list[str], bool]:
    """The keys of an evaluation record that `ctr.auc` (or `auc`: the mean over tasks) stands for.

    Returns the keys, empty when there are none, and whether more is better.
    """
    names = [
        (key(task, call), call) for task, spec in recipe.tasks.items() for call in spec.metrics
    ]
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
        losses = [key(task, "loss") for task in recipe.tasks if wanted == key(task, "loss")]
        return losses, False
    return [k for k, _ in chosen], METRICS[chosen[0][1].name].higher
