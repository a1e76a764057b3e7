"""Metrics of the evaluation, as `torchmetrics.Metric` classes: exact over the whole set.

Every `update` takes predictions, labels, perhaps weights [B], perhaps group keys [B] (int64), of
rows that have a label; `compute` gives a float, or None where the metric is not available. A label
between 0 and 1 counts as that much of a positive row and the rest of a negative one.

torchmetrics has classes of these names. They are not used because its exact AUC keeps every row in
memory as float32, its binned one and its means sum in float32, a missing class is 0.0 there, and
none takes weights with groups. Here sums are float64, rows spill to disk (`Rows`), and a metric
that there is not is None. Its base class is used: states, resetting, `update_called`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from graphrec.recipe.calls import Call
from graphrec.recipe.metric_table import METRICS
from graphrec.recipe.metric_table import Metric as Declared
from graphrec.recipe.tasks import read_metric
from graphrec.train.stored_metrics import (
    Auc,
    AveragePrecision,
    GroupedAuc,
    GroupedXauc,
    MulticlassAuc,
    Xauc,
)
from graphrec.train.streamed_metrics import (
    Accuracy,
    BinnedAuc,
    LogLoss,
    MeanError,
    NormalizedEntropy,
    mean_absolute_error,
    mean_squared_error,
    root_mean_squared_error,
)

__all__ = [
    "Accuracy",
    "Auc",
    "AveragePrecision",
    "BinnedAuc",
    "GroupedAuc",
    "GroupedXauc",
    "LogLoss",
    "MeanError",
    "MulticlassAuc",
    "NormalizedEntropy",
    "Xauc",
    "area_under_curve",
    "make_metric",
    "mean_absolute_error",
    "mean_squared_error",
    "root_mean_squared_error",
]


def make_metric(
    call: Call, metrics: Mapping[str, type[Declared]] = METRICS, *, logits: bool = False
) -> Any:
    """The metric a recipe names, with its arguments.

    `logits`: one that ranks gets log-odds (`ranking_scores`) instead of probabilities.
    """
    declared = read_metric(call, metrics)
    module, _, name = declared.computes.partition(":")
    make: Callable[..., Any] = getattr(importlib.import_module(module), name)
    metric = make(**declared.given(), **({"logits": logits} if declared.ranks else {}))
    # torchmetrics would ask all processes of a job for their rows, where rank 0 alone measures
    # what every rank has scored.
    metric.sync_on_compute = metric._to_sync = False
    return metric


# ---- sums ---------------------------------------------------------------------------------------


def area_under_curve(
    bins: int | None = None, weighted: bool = False, logits: bool = False
) -> BinnedAuc | Auc:
    """The exact AUC, or with `bins` the one in bounded memory."""
    return Auc(weighted) if bins is None else BinnedAuc(bins, weighted, logits)


# ---- rows ---------------------------------------------------------------------------------------
