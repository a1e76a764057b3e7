"""Learning-rate schedules: pure functions of the number of updates done, so resuming is exact."""

from __future__ import annotations

import math

from graphrec.recipe.training import Schedule

__all__ = ["factor", "needs_total"]


def needs_total(schedule: Schedule) -> bool:
    """Whether the curve depends on the number of updates of the whole run."""
    return schedule.kind in ("cosine", "linear")


def factor(schedule: Schedule, t: int, total: int | None = None) -> float:
    """What the learning rates are multiplied by in update `t` (from 0); `total` updates in all.

    Warm-up is linear from `warmup_from` to 1 over `warmup` updates; the curve starts after it.
    `steps` counts from the first update of the run. Past its end a curve stays where it ended.

    >>> halving = Schedule(kind="exponential", gamma=0.5, every=2, staircase=True)
    >>> [factor(halving, t) for t in (0, 2, 5)]
    [1.0, 0.5, 0.25]
    """
    if t < schedule.warmup:
        return schedule.warmup_from + (1.0 - schedule.warmup_from) * t / schedule.warmup
    after = t - schedule.warmup
    low = schedule.minimum
    if schedule.kind == "exponential":
        power = after // schedule.every if schedule.staircase else after / schedule.every
        return float(max(schedule.gamma**power, low))
    if schedule.kind == "steps":
        return float(max(schedule.gamma ** sum(t >= at for at in schedule.at), low))
    if schedule.kind == "restarts":
        return _cosine(after % schedule.every / schedule.every, low)
    if schedule.kind in ("cosine", "linear"):
        if total is None:
            raise ValueError(f"schedule `{schedule.kind}` needs the number of updates of the run")
        share = min(after / max(total - schedule.warmup, 1), 1.0)
        return (
            _cosine(share, low) if schedule.kind == "cosine" else low + (1.0 - low) * (1.0 - share)
        )
    return 1.0


def _cosine(share: float, low: float) -> float:
    return low + (1.0 - low) * (1.0 + math.cos(math.pi * share)) / 2.0
