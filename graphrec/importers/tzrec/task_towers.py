"""Losses, metrics, weights and spaces -> tasks."""

from __future__ import annotations

from typing import Any

from graphrec.ground.errors import Problem, RecipeError
from graphrec.importers.tzrec.section import Section
from graphrec.recipe.loss_table import Form
from graphrec.recipe.metric_table import METRICS

__all__ = ["task_body"]

_LOSSES = {
    "binary_cross_entropy": "bce",
    "binary_focal_loss": "focal",
    "jrc_loss": "jrc",
    "l2_loss": "l2",
    "softmax_cross_entropy": "softmax",
}
_METRICS = {
    "accuracy": "accuracy",
    "auc": "auc",
    "decay_auc": "auc",
    "grouped_auc": "gauc",
    "grouped_xauc": "gxauc",
    "mean_absolute_error": "mae",
    "mean_squared_error": "mse",
    "multiclass_auc": "multiclass_auc",
    "root_mean_squared_error": "rmse",
    "normalized_entropy": "normalized_entropy",
    "xauc": "xauc",
}
_TRAINED = ("decay_rate", "decay_step", "step_decay_rate")


def task_body(section: Section, label: str) -> dict[str, Any]:
    """What a tower (or, with one task, `model_config`) says of its task, but not what it reads."""
    losses = _losses(section)
    classes = section.integer("num_class", 1) or 1
    body: dict[str, Any] = {"label": label}
    form: Form = "binary"
    if "l2" in losses:
        form, body["kind"] = "regression", "regression"
        losses = _only(section, losses, ("l2",))
    elif "softmax" in losses or "jrc" in losses:
        form = "softmax"
        losses = _only(section, losses, ("softmax", "jrc"))
        classes = max(classes, 2)
        if classes > 2:
            body["kind"] = "multiclass"
        body["classes"] = classes
    elif classes > 1:
        section.remark("num_class", f"num_class: {classes} with a binary loss: one logit")
    usual = {"binary": "bce", "regression": "l2"}.get(form, "softmax" if classes > 2 else "")
    if losses != {usual: {}}:
        plain = len(losses) == 1 and not next(iter(losses.values()))
        body["loss"] = next(iter(losses)) if plain else losses
    _weights(section, body)
    metrics = _metrics(section, form, classes)
    if metrics:
        body["metrics"] = metrics
    trained = _train_metrics(section, form, classes)
    if trained:
        body["train_metrics"] = trained
    return body


def _only(section: Section, losses: dict[str, Any], kept: tuple[str, ...]) -> dict[str, Any]:
    """Losses that can be computed from one kind of prediction."""
    for name in losses:
        if name not in kept:
            section.remark("losses", f"loss {name} beside {kept[0]} has no counterpart: left out")
    return {name: given for name, given in losses.items() if name in kept}


def _losses(section: Section) -> dict[str, Any]:
    losses: dict[str, Any] = {}
    for part in section.sections("losses"):
        for kind in part.names():
            loss = part.section(kind)
            if kind not in _LOSSES or loss is None:
                part.remark(kind, f"loss {kind} has no counterpart: left out")
                continue
            losses[_LOSSES[kind]] = _parameters(kind, loss)
    if not losses:
        section.notes.add(section.span, f"{section.path}: no loss is given: bce")
        losses["bce"] = {}
    return losses


def _parameters(kind: str, loss: Section) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if kind in ("binary_cross_entropy", "softmax_cross_entropy") and loss.number("label_smoothing"):
        given["label_smoothing"] = loss.number("label_smoothing")
    if kind == "jrc_loss":
        session = loss.text("session_name")
        if not session:
            raise RecipeError(Problem("GR131", "jrc_loss needs session_name", loss.span))
        given["session"] = session
    if kind in ("jrc_loss", "binary_focal_loss") and "alpha" in loss:
        given["alpha"] = loss.number("alpha")
    if kind == "binary_focal_loss" and "gamma" in loss:
        given["gamma"] = loss.number("gamma")
    return given


def _weights(section: Section, body: dict[str, Any]) -> None:
    if section.number("weight", 1.0) != 1.0:
        body["weight"] = section.number("weight")
    if section.text("sample_weight_name"):
        body["sample_weight"] = section.text("sample_weight_name")
    label = section.text("task_space_indicator_label")
    inside = section.number("in_task_space_weight", 1.0)
    outside = section.number("out_task_space_weight", 1.0)
    if not label:
        return
    if (inside, outside) == (1.0, 0.0):
        body["space"] = label
    else:
        body["space"] = {"label": label, "inside": inside, "outside": outside}


# ---- metrics ----------------------------------------------------------------------------------


def _metrics(section: Section, form: Form, classes: int) -> list[str]:
    metrics: list[str] = []
    for part in section.sections("metrics"):
        part.ignore("step_decay_rate")
        for kind in part.names():
            if kind not in _TRAINED:
                metrics += _metric(part, kind, form, classes)
    return list(dict.fromkeys(metrics))


def _metric(part: Section, kind: str, form: Form, classes: int) -> list[str]:
    metric = part.section(kind)
    name = _METRICS.get(kind)
    if metric is None or name is None:
        part.remark(kind, f"metric {kind} has no counterpart: left out")
        return []
    if not _fits(name, form, classes):
        part.remark(kind, f"metric {kind} does not fit the task's loss: left out")
        return []
    if kind in ("grouped_auc", "grouped_xauc"):
        return [f"{name}({metric.text('grouping_key')})"]
    if kind == "accuracy" and metric.number("threshold", 0.5) != 0.5:
        return [f"accuracy(threshold={metric.number('threshold'):g})"]
    if "thresholds" in metric:
        metric.remark("thresholds", "thresholds: here AUC is exact over the whole set")
    return [name]


def _fits(name: str, form: Form, classes: int) -> bool:
    declared = METRICS[name]
    return form in declared.forms and not (
        form == "softmax" and classes > 2 and declared.two_classes
    )


def _train_metrics(section: Section, form: Form, classes: int) -> list[str]:
    metrics: list[str] = []
    for part in section.sections("train_metrics"):
        rate, step = part.number("decay_rate", 0.9), part.integer("decay_step", 100)
        for kind in part.names():
            name = _METRICS.get(kind)
            if kind in _TRAINED:
                continue
            if name is None or not METRICS[name].decays or not _fits(name, form, classes):
                part.remark(kind, f"train metric {kind} has no counterpart: left out")
                continue
            metric = part.section(kind)
            bins = metric.integer("thresholds") if metric is not None else None
            given = {"step": step if step != 100 else None, "rate": rate if rate != 0.9 else None}
            given["bins"] = bins if bins and bins != 200 else None
            written = ", ".join(
                f"{key}={value}" for key, value in given.items() if value is not None
            )
            metrics.append(f"{name}({written})" if written else name)
    return list(dict.fromkeys(metrics))
