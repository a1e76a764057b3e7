"""Tasks, losses and weights of a case -> tasks of a recipe; labels of the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from golden_plan import Plan, Unsupported, legal

__all__ = ["LOSSES", "add_tasks", "task_names", "tasks_of"]

LOSSES = {
    "binary_cross_entropy": "bce",
    "binary_focal_loss": "focal",
    "jrc_loss": "jrc",
    "l2_loss": "l2",
    "softmax_cross_entropy": "softmax",
}
PREDICTIONS = ("logits", "probs", "probs1", "y")


def tasks_of(plan: Plan) -> list[Mapping[str, Any]]:
    """The tasks of the case; the single one of a case without names is called `main`."""
    said = plan.case.said
    return list(said["tasks"]) if "tasks" in said else [{"name": "main", **said["task"]}]


def task_names(plan: Plan) -> dict[str, str]:
    """Golden task -> task of the recipe."""
    return {task["name"]: f"t_{legal(task['name'])}" for task in tasks_of(plan)}


def add_tasks(plan: Plan, heads: Mapping[str, Mapping[str, str]]) -> None:
    """Add every task; `heads` says what predicts it: {"in": tower} or {"logit": expression}."""
    names = task_names(plan)
    several, minimum = "tasks" in plan.case.said, {}
    for task in tasks_of(plan):
        golden, name = task["name"], names[task["name"]]
        plan.tasks[name] = {
            "label": f"label_{task['label']}",
            **heads[golden],
            **_form(task),
            **_weights(task),
            "loss": {_loss_name(loss): _loss(loss) for loss in task["losses"]},
            "metrics": [],
        }
        # A recipe whose only task is one of several in the reference has no suffix either.
        ours = f"_{name}" if len(names) > 1 else ""
        theirs = f"_{golden}" if several else ""
        for key in PREDICTIONS:
            plan.renamed[key + ours] = key + theirs
        for loss in task["losses"]:
            plan.renamed[_loss_name(loss) + ours] = loss["type"] + theirs
        minimum[name] = task.get("pareto_min", 0.0)
    if plan.case.said.get("pareto"):
        plan.train["balance"] = {"pareto": {"min": minimum, "over": "all"}}


def _form(task: Mapping[str, Any]) -> dict[str, Any]:
    losses, classes = {loss["type"] for loss in task["losses"]}, task["num_class"]
    if "l2_loss" in losses:
        return {"kind": "regression"}
    if losses & {"softmax_cross_entropy", "jrc_loss"}:
        kind = "binary" if classes == 2 else "multiclass"
        return {"kind": kind, "classes": classes}
    return {}


def _weights(task: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if "weight" in task:
        made["weight"] = task["weight"]
    if task.get("sample_weight"):
        made["sample_weight"] = f"weight_{task['sample_weight']}"
    if task.get("task_space"):
        made["space"] = {
            "label": f"label_{task['task_space']}",
            "inside": task.get("in_weight", 1.0),
            "outside": task.get("out_weight", 1.0),
        }
    return made


def _loss_name(loss: Mapping[str, Any]) -> str:
    if loss["type"] not in LOSSES:
        raise Unsupported(f"loss {loss['type']}")
    return LOSSES[loss["type"]]


def _loss(loss: Mapping[str, Any]) -> dict[str, Any]:
    given = {k: v for k, v in loss.items() if k not in ("type", "session_name")}
    if "session_name" in loss:
        given["session"] = f"raw_{loss['session_name']}"
    return given
