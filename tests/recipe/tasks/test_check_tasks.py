"""Losses, metrics and classes that don't fit are findings with a code, a path and a way out."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from graphrec.recipe.model import Recipe
from graphrec.recipe.tasks import (
    check_tasks,
    form_of,
    grouping_columns,
    metric_parameters,
    selection,
)


def recipe(tasks: dict[str, Any], **train: Any) -> Recipe:
    base = {"label": {"column": "clk"}, "in": "all", "loss": {"bce": {}}, "metrics": ["auc"]}
    return Recipe.model_validate(
        {
            "graphrec": 1,
            "name": "tiny",
            "features": {"u": {"type": "id", "name": "u", "vocab": 10, "dim": 4}},
            "tasks": {name: {**base, **task} for name, task in tasks.items()},
            "train": train,
        }
    )


GOOD: list[dict[str, Any]] = [
    {},
    {"loss": {"bce": {"label_smoothing": 0.1}, "focal": {"gamma": 1.0}}},
    {"loss": {"softmax": {}}, "classes": 2, "metrics": ["auc", "logloss", "multiclass_auc"]},
    {"loss": {"jrc": {"session": "s"}}, "classes": 2, "metrics": ["gauc(u)"]},
    {"kind": "regression", "loss": {"l2": {}}, "metrics": ["mae", "xauc", "gxauc(u)", "rmse"]},
    {"kind": "multiclass", "classes": 5, "loss": {"softmax": {}}, "metrics": ["accuracy"]},
    {"in": None, "prob": "a.prob * b.prob"},
    {"metrics": ["auc(bins=50)", "gauc(u, weight=impressions)", "xauc(sample=100)"]},
    {"train_metrics": ["auc", "mae(step=10, rate=0.5)"]},
    {"label": None, "loss": {}, "metrics": []},
]


@pytest.mark.parametrize("task", GOOD)
def test_nothing_to_say(task):
    assert check_tasks(recipe({"t": task})) == []


BAD: list[tuple[dict[str, Any], str, str, str]] = [
    ({"loss": {"bcee": {}}}, "GR230", "tasks.t.loss.bcee", "did you mean `bce`?"),
    (
        {"loss": {"bce": {"smoothing": 0.1}}},
        "GR231",
        "tasks.t.loss.bce.smoothing",
        "label_smoothing",
    ),
    ({"loss": {"bce": {"label_smoothing": 1.5}}}, "GR231", "tasks.t.loss.bce.label_smoothing", ""),
    ({"loss": {"focal": {"alpha": 1.0}}}, "GR231", "tasks.t.loss.focal.alpha", ""),
    ({"loss": {"jrc": {}}, "classes": 2}, "GR231", "tasks.t.loss.jrc", ""),
    ({"loss": {"l2": {}}}, "GR232", "tasks.t.loss.l2", "fits here: bce, focal"),
    ({"prob": "a.prob", "loss": {"focal": {}}}, "GR232", "tasks.t.loss.focal", "fits here: bce"),
    (
        {"loss": {"bce": {}, "softmax": {}}, "classes": 2},
        "GR232",
        "tasks.t.loss.bce",
        "jrc, softmax",
    ),
    ({"metrics": ["ouc"]}, "GR233", "tasks.t.metrics.0", "did you mean `auc`?"),
    ({"train_metrics": ["gauc(u)"]}, "GR233", "tasks.t.train_metrics.0", "known here"),
    ({"metrics": ["auc", "gauc"]}, "GR234", "tasks.t.metrics.1", ""),
    ({"metrics": ["auc(200)"]}, "GR234", "tasks.t.metrics.0", ""),
    ({"metrics": ["auc(bins=1)"]}, "GR234", "tasks.t.metrics.0", ""),
    ({"metrics": ["gauc(u, column=v)"]}, "GR234", "tasks.t.metrics.0", ""),
    ({"train_metrics": ["auc(rate=2)"]}, "GR234", "tasks.t.train_metrics.0", ""),
    (
        {"kind": "regression", "loss": {"l2": {}}, "metrics": ["auc"]},
        "GR235",
        "tasks.t.metrics.0",
        "fits here: gxauc, mae",
    ),
    (
        {"kind": "multiclass", "classes": 3, "loss": {"softmax": {}}, "metrics": ["auc"]},
        "GR235",
        "tasks.t.metrics.0",
        "accuracy",
    ),
    ({"classes": 2}, "GR236", "tasks.t.classes", ""),
    ({"loss": {"softmax": {}}}, "GR236", "tasks.t", "classes: 2"),
    ({"loss": {"softmax": {}}, "classes": 3, "metrics": []}, "GR236", "tasks.t.classes", ""),
    (
        {"kind": "multiclass", "loss": {"jrc": {"session": "s"}}, "classes": 3, "metrics": []},
        "GR236",
        "tasks.t.classes",
        "",
    ),
    ({"label": None}, "GR237", "tasks.t", "loss: none"),
]


@pytest.mark.parametrize(("task", "code", "path", "help"), BAD)
def test_one_finding(task, code, path, help):
    (problem,) = check_tasks(recipe({"t": task}))
    assert (problem.code, problem.path) == (code, path)
    assert help in problem.help


def test_selection_of_a_metric():
    tasks = {"a": {}, "b": {"metrics": ["auc", "logloss"], "space": {"label": "x"}}}
    two = recipe(tasks)
    assert selection(two, "a.auc") == (["a.auc"], True)
    assert selection(two, "auc") == (["a.auc", "b.auc"], True)
    assert selection(two, "b.logloss.inside") == (["b.logloss.inside"], False)
    assert selection(two, "b.loss") == (["b.loss"], False)
    assert selection(two, "loss") == (["loss"], False)
    found = check_tasks(recipe(tasks, save={"best": "a.logloss"}, early_stop={"metric": "c.auc"}))
    assert [(p.code, p.path) for p in found] == [
        ("GR238", "train.save.best"),
        ("GR238", "train.early_stop.metric"),
    ]


def test_what_other_rooms_ask():
    one = recipe({"t": {"loss": {"jrc": {"session": "s"}}, "classes": 2, "metrics": ["gauc(u)"]}})
    assert grouping_columns(one) == ("s", "u")
    assert form_of(one, "t") == "softmax"
    assert metric_parameters(one, one.tasks["t"].metrics[0]).column == "u"


def test_torch_is_not_imported():
    code = "import sys, graphrec.recipe.tasks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
