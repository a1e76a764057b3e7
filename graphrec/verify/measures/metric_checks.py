"""What holds for every metric, one function for each; they raise `Unfit` with what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from graphrec.nn.batch import Batch
from graphrec.train.evaluation import LabelledRows
from graphrec.train.metrics import make_metric
from graphrec.verify.block.verdict import Skipped, Unfit, reported
from graphrec.verify.measures.measured_rows import ROWS, Case, taken

__all__ = ["METRIC_CHECKS"]

_DIGITS = 1e-9


def check_value(case: Case) -> None:
    """A float, and None (or a float) where there is hardly a row; `reset` forgets."""
    value = _value(case, [range(ROWS)])
    if value is not None and not math.isfinite(value):
        raise Unfit(f"the value is {value}: give None where there is none")
    for rows in ([], [0], [0, 1]):
        few = _value(case, [rows])
        if few is not None and not math.isfinite(few):
            raise Unfit(f"of {len(rows)} rows the value is {few}: give None where there is none")
    metric = _metric(case)
    _update(case, metric, case.batch(), range(ROWS))
    metric.reset()
    _update(case, metric, case.batch(), range(ROWS))
    _same(_number(metric.compute()), value, "after reset() it is another metric")


def check_order(case: Case) -> None:
    """The order of the rows changes nothing."""
    value = _value(case, [range(ROWS)])
    _same(_value(case, [range(ROWS - 1, -1, -1)]), value, "the order of the rows counts")


def check_batches(case: Case) -> None:
    """However the rows are cut into batches, the value is the same."""
    value = _value(case, [range(ROWS)])
    for size in (1, 5, ROWS // 2):
        parts = [range(start, min(start + size, ROWS)) for start in range(0, ROWS, size)]
        _same(_value(case, parts), value, f"batches of {size} rows give another value")


def check_merging(case: Case) -> None:
    """Two metrics of half the rows each, merged, are that of all rows."""
    value = _value(case, [range(ROWS)])
    one, two = _metric(case), _metric(case)
    _update(case, one, case.batch(), range(ROWS // 2))
    _update(case, two, case.batch(), range(ROWS // 2, ROWS))
    reported("merging", lambda: _merge(one, two))
    _same(_number(one.compute()), value, "merged halves give another value")


def check_weights(case: Case) -> None:
    """With `weighted`, rows of weight 0 count for nothing, and scaled weights change nothing."""
    if "weighted" not in case.measure.model_fields:
        raise Skipped("it has no parameter `weighted`")
    weighted = Case(case.measure, {**case.given, "weighted": True}, case.form, case.classes)
    batch = weighted.batch()
    value = _value(weighted, [range(ROWS)])
    scaled = Batch({}, batch.labels, {"t": batch.weights["t"] * 4}, batch.columns)
    _same(_value(weighted, [range(ROWS)], scaled), value, "scaled weights change the value")
    half = torch.arange(ROWS) % 2 == 0
    zeros = {"t": torch.where(half, batch.weights["t"], torch.zeros(ROWS))}
    some = Batch({}, batch.labels, zeros, batch.columns)
    kept = half.nonzero().view(-1).tolist()
    _same(
        _value(weighted, [range(ROWS)], some),
        _value(weighted, [kept]),
        "rows of weight 0 count",
    )


METRIC_CHECKS: Mapping[str, Callable[[Case], None]] = {
    "value": check_value,
    "order": check_order,
    "batches": check_batches,
    "merging": check_merging,
    "weights": check_weights,
}
"""Every check by its name."""


def _metric(case: Case) -> Any:
    recipe = case.recipe()
    (call,) = recipe.tasks["t"].metrics
    return reported(
        f"making {case.measure.computes}",  # type: ignore[union-attr]
        lambda: make_metric(call, recipe.measures.metrics, logits=True),
    )


def _update(case: Case, metric: Any, batch: Batch, rows: Iterable[int]) -> None:
    at = list(rows)
    recipe, part = case.recipe(), taken(batch, torch.tensor(at, dtype=torch.int64))
    (call,) = recipe.tasks["t"].metrics
    predictions = case.predictions(case.output()[at])
    labelled = LabelledRows(recipe, "t", predictions, part)
    column = case.given.get(case.measure.group) if case.measure.group else None
    group = part.columns[column] if column else None
    arguments: tuple[Tensor, ...] = (labelled.read_by(call), labelled.label, part.weights["t"])
    reported("update", lambda: metric.update(*arguments, group))


def _merge(one: Any, two: Any) -> None:
    """Put the state of the second into the first, as processes do with their parts of the rows."""
    if hasattr(one, "merge_state"):
        one.merge_state(two)
        return
    for name, reduce in one._reductions.items():
        if reduce is None:
            raise Skipped(f"its state `{name}` has no dist_reduce_fx")
        setattr(one, name, reduce(torch.stack([getattr(one, name), getattr(two, name)])))
    one._computed = None


def _value(case: Case, parts: Iterable[Iterable[int]], batch: Batch | None = None) -> float | None:
    metric = _metric(case)
    for rows in parts:
        at = list(rows)
        if at:
            _update(case, metric, batch or case.batch(), at)
    if not metric.update_called:
        return None
    return _number(reported("compute", metric.compute))


def _number(value: Any) -> float | None:
    if value is not None and not isinstance(value, float):
        raise Unfit(f"compute() gives {type(value).__name__}, not a float or None")
    return value


def _same(actual: float | None, right: float | None, what: str) -> None:
    if (actual is None) != (right is None) or not math.isclose(
        actual or 0.0, right or 0.0, rel_tol=_DIGITS, abs_tol=_DIGITS
    ):
        raise Unfit(f"{what}: {actual}, not {right}")
