"""Learning-rate curves at the points where they bend."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import graphrec
from graphrec.recipe.training import Schedule
from graphrec.train.schedules import factor, needs_total

CURVES: list[tuple[dict[str, Any], dict[int, float]]] = [
    ({}, {0: 1.0, 10**6: 1.0}),
    ({"warmup": 4, "warmup_from": 0.2}, {0: 0.2, 1: 0.4, 2: 0.6, 4: 1.0, 5: 1.0}),
    ({"kind": "exponential", "gamma": 0.25, "every": 2}, {0: 1.0, 1: 0.5, 2: 0.25, 4: 0.0625}),
    (
        {"kind": "exponential", "gamma": 0.5, "every": 2, "staircase": True, "minimum": 0.3},
        {0: 1.0, 1: 1.0, 2: 0.5, 3: 0.5, 4: 0.3, 100: 0.3},
    ),
    ({"kind": "steps", "gamma": 0.1, "at": [3, 5]}, {2: 1.0, 3: 0.1, 4: 0.1, 5: 0.01, 99: 0.01}),
    ({"kind": "cosine", "minimum": 0.1}, {0: 1.0, 5: 0.55, 10: 0.1, 11: 0.1}),
    ({"kind": "cosine", "warmup": 2}, {0: 0.0, 1: 0.5, 2: 1.0, 6: 0.5, 10: 0.0}),
    ({"kind": "linear", "minimum": 0.2}, {0: 1.0, 5: 0.6, 10: 0.2, 20: 0.2}),
    ({"kind": "restarts", "every": 4}, {0: 1.0, 2: 0.5, 3: 0.1464466, 4: 1.0, 6: 0.5}),
]


@pytest.mark.parametrize(("settings", "points"), CURVES, ids=lambda value: str(value)[:40])
def test_curve(settings: dict[str, Any], points: dict[int, float]) -> None:
    schedule = Schedule.model_validate({"kind": "constant", **settings})
    found = {t: factor(schedule, t, total=10) for t in points}
    assert found == pytest.approx(points, abs=1e-6)


def test_curves_over_the_run_need_its_length() -> None:
    kinds = ("constant", "exponential", "steps", "cosine", "restarts", "linear")
    schedules = [
        Schedule.model_validate({"kind": k, "at": [1] if k == "steps" else []}) for k in kinds
    ]
    assert [s.kind for s in schedules if needs_total(s)] == ["cosine", "linear"]
    with pytest.raises(ValueError, match="`cosine` needs the number of updates"):
        factor(Schedule(kind="cosine"), 0)


def test_tables_may_have_a_schedule_of_their_own(
    write_recipe: Callable[[str], Path], tmp_path: Path
) -> None:
    """After the first update theirs is nearly 0: tables stand still, and the rest goes on."""
    path = write_recipe(
        """\
graphrec: 1
name: two_rates
data: {synthetic: 100}
features: [{type: id, names: {user: 4}, dim: 2}]
graph: {top: {block: linear, in: all, out: 2}}
tasks: {click: {label: click, in: top}}
train:
  batch: 50
  lr: {dense: 0.1, sparse: 0.5}
  optim: {dense: sgd, sparse: sgd}
  schedule: {exponential: {gamma: 0.5, every: 1}}
  table_schedule: {steps: {at: [1], gamma: 1e-12}}
  log_every: 1
"""
    )
    states = []
    for steps in (1, 3):
        folder = tmp_path / str(steps)
        run = graphrec.train(str(path), [f"train.steps={steps}"], run_dir=str(folder), quiet=True)
        states.append(run.module.state_dict())
    moved = {name: not value.equal(states[1][name]) for name, value in states[0].items()}
    assert {name for name, there in moved.items() if there} == {
        *(f"{node}.{part}" for node in ("top", "head_click") for part in ("weight", "bias")),
    }
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rates = [(line["lr"], line["lr_tables"]) for line in lines if line["kind"] == "train"]
    assert rates == [(0.1, 0.5), (0.05, 0.5e-12), (0.025, 0.5e-12)]
