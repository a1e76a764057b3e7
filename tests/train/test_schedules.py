"""Learning-rate curves at the points where they bend."""

from __future__ import annotations

from typing import Any

import pytest

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
