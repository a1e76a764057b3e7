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

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from graphrec.data.chunk import NULL_KEY
from graphrec.recipe.calls import Call
from graphrec.recipe.metric_table import METRICS
from graphrec.recipe.metric_table import Metric as Declared
from graphrec.recipe.tasks import read_metric
from graphrec.train import exact, spilled
from graphrec.train.exact import Array
from graphrec.train.ranking import class_log_odds
from graphrec.train.score_bins import binned, thresholds
from graphrec.train.train_rows import Rows

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


class _Streaming(Metric):
    """Sums in float64, named by the subclass."""

    full_state_update = False
    sums: tuple[str, ...] = ("total", "mass")
    total: Tensor
    mass: Tensor

    def __init__(self, weighted: bool = False) -> None:
        super().__init__()
        self.weighted = weighted
        for name in self.sums:
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def weights(self, preds: Tensor, weight: Tensor | None) -> Tensor:
        if not self.weighted or weight is None:
            return torch.ones(preds.shape[0], dtype=torch.float64)
        return weight.double()

    def add(self, **terms: Tensor) -> None:
        for name, value in terms.items():
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> float | None:
        return float(self.total / self.mass) if float(self.mass) > 0 else None


class LogLoss(_Streaming):
    """Mean negative log likelihood of probabilities [B] or [B, C], clipped at their epsilon."""

    def update(
        self, preds: Tensor, target: Tensor, weight: Tensor | None = None, group: Any = None
    ) -> None:
        mass = self.weights(preds, weight)
        self.add(total=(_nll(preds, target) * mass).sum(), mass=mass.sum())


class NormalizedEntropy(_Streaming):
    """Sum of the log loss over the entropy of the base rate."""

    sums = ("total", "mass", "positive")
    positive: Tensor

    def update(
        self, preds: Tensor, target: Tensor, weight: Tensor | None = None, group: Any = None
    ) -> None:
        mass = self.weights(preds, weight)
        total = (_nll(preds, target) * mass).sum()
        self.add(total=total, mass=mass.sum(), positive=(mass * target.double().clamp(0, 1)).sum())

    def compute(self) -> float | None:
        rate = float(self.positive / self.mass) if float(self.mass) > 0 else 0.0
        if not 0 < rate < 1:
            return None
        entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
        return float(self.total / self.mass) / float(entropy)


class Accuracy(_Streaming):
    """Share of rows whose class is among the `top_k` most probable, or on the right side of 0.5."""

    def __init__(self, threshold: float = 0.5, top_k: int = 1, weighted: bool = False) -> None:
        super().__init__(weighted)
        self.threshold, self.top_k = threshold, top_k

    def update(
        self, preds: Tensor, target: Tensor, weight: Tensor | None = None, group: Any = None
    ) -> None:
        mass = self.weights(preds, weight)
        if preds.ndim == 1:
            right = (preds > self.threshold) == (target > 0.5)
        else:
            own = preds.gather(1, target.long()[:, None])
            number = torch.arange(preds.shape[1])
            # Of equally probable classes the first comes first, as in argmax.
            before = (preds > own) | ((preds == own) & (number < target.long()[:, None]))
            right = before.sum(1) < self.top_k
        self.add(total=(right * mass).sum(), mass=mass.sum())


class MeanError(_Streaming):
    """Mean of |p - y|^power, perhaps its root: mae, mse, rmse."""

    def __init__(self, power: int, root: bool = False, weighted: bool = False) -> None:
        super().__init__(weighted)
        self.power, self.root = power, root

    def update(
        self, preds: Tensor, target: Tensor, weight: Tensor | None = None, group: Any = None
    ) -> None:
        mass = self.weights(preds, weight)
        error = (preds.double() - target.double()).abs() ** self.power
        self.add(total=(error * mass).sum(), mass=mass.sum())

    def compute(self) -> float | None:
        mean = super().compute()
        return float(np.sqrt(mean)) if self.root and mean is not None else mean


def mean_absolute_error(weighted: bool = False) -> MeanError:
    """Mean of |p - y|."""
    return MeanError(1, weighted=weighted)


def mean_squared_error(weighted: bool = False) -> MeanError:
    """Mean of (p - y)^2."""
    return MeanError(2, weighted=weighted)


def root_mean_squared_error(weighted: bool = False) -> MeanError:
    """Root of the mean of (p - y)^2."""
    return MeanError(2, root=True, weighted=weighted)


class BinnedAuc(Metric):
    """AUC in bounded memory: scores fall into bins between `bins` even thresholds from 0 to 1.

    With `logits` the scores are log-odds, and the outermost bins are cut further (`thresholds`).
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, bins: int = 200, weighted: bool = False, logits: bool = False) -> None:
        super().__init__()
        self.weighted = weighted
        self.thresholds = thresholds(bins, logits)
        counts = torch.zeros(2, len(self.thresholds), dtype=torch.float64)
        self.add_state("counts", counts, dist_reduce_fx="sum")

    def update(
        self, preds: Tensor, target: Tensor, weight: Tensor | None = None, group: Any = None
    ) -> None:
        mass = weight.double() if self.weighted and weight is not None else None
        self.counts = self.counts + binned(preds, target, self.thresholds, mass)

    def compute(self) -> float | None:
        counts = self.counts.numpy()
        return exact.binned_auc(counts[1], counts[0])


def area_under_curve(
    bins: int | None = None, weighted: bool = False, logits: bool = False
) -> BinnedAuc | Auc:
    """The exact AUC, or with `bins` the one in bounded memory."""
    return Auc(weighted) if bins is None else BinnedAuc(bins, weighted, logits)


# ---- rows ---------------------------------------------------------------------------------------


class _Stored(Metric):
    """Keeps the rows; `value` is computed from them, None where a score is no number."""

    full_state_update = False

    def __init__(self, weighted: bool = False) -> None:
        super().__init__()
        self.weighted = weighted
        self.rows = Rows()
        self.has_nan = False

    def reset(self) -> None:
        super().reset()
        self.rows, self.has_nan = Rows(), False

    def update(
        self, preds: Tensor, target: Tensor, weight: Tensor | None = None, group: Any = None
    ) -> None:
        columns = {"score": preds.detach().cpu().numpy(), "label": target.cpu().numpy()}
        self.has_nan |= bool(np.isnan(columns["score"]).any())
        if self.weighted and weight is not None:
            columns["weight"] = weight.cpu().numpy()
        self.rows.append(**self.kept(columns, group))

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """The rows of another metric of this kind, behind the own ones."""
        if not isinstance(incoming_state, _Stored):
            raise TypeError(f"expected {type(self).__name__}, got {type(incoming_state).__name__}")
        for chunk in incoming_state.rows.chunks():
            self.rows.append(**chunk)
        self.has_nan |= incoming_state.has_nan
        self._update_count += incoming_state._update_count
        self._computed = None

    def kept(self, columns: dict[str, Array], group: Any) -> dict[str, Array]:
        """What is stored of a batch."""
        return columns

    def compute(self) -> float | None:
        return None if self.has_nan else self.value()

    def value(self) -> float | None:
        raise NotImplementedError


class Auc(_Stored):
    """Exact area under the ROC curve; ties count half, one class only is not available."""

    def value(self) -> float | None:
        return spilled.auc(self.rows)


class AveragePrecision(_Stored):
    """Exact area under the precision-recall curve, in steps; without positives not available."""

    def __init__(self, weighted: bool = False, logits: bool = False) -> None:
        super().__init__(weighted)

    def value(self) -> float | None:
        return spilled.average_precision(self.rows)


class MulticlassAuc(_Stored):
    """Mean over the classes that occur of the AUC of one class against the rest.

    Predictions are probabilities [B, C], or logits with `logits`.
    """

    def __init__(self, weighted: bool = False, logits: bool = False) -> None:
        super().__init__(weighted)
        self.logits = logits

    def value(self) -> float | None:
        return spilled.class_auc(self.rows, class_log_odds if self.logits else _column)


class Xauc(_Stored):
    """Share of all pairs, or of `sample` seeded ones, in the right order; ties are wrong."""

    def __init__(self, sample: int | None = None, logits: bool = False) -> None:
        super().__init__()
        self.sample = sample

    def value(self) -> float | None:
        number = len(self.rows)
        if self.sample is None or number < 2:
            return spilled.xauc(self.rows)
        draw = np.random.default_rng(0)
        i = draw.integers(0, number, self.sample)
        j = (i + draw.integers(1, number, self.sample)) % number
        one, other = self.rows.at(i), self.rows.at(j)
        rising = np.sign(one["score"].astype(np.float64) - other["score"])
        return float(np.mean(rising * np.sign(one["label"] - other["label"]) > 0))


class _Grouped(_Stored):
    def kept(self, columns: dict[str, Array], group: Any) -> dict[str, Array]:
        codes = np.asarray(group)
        known = codes != NULL_KEY
        return {name: values[known] for name, values in {**columns, "group": codes}.items()}

    def per_group(self) -> tuple[Array, Array]:
        """The value and the size of every group that has one."""
        parts = [(np.zeros(0), np.zeros(0)), *map(self.of, spilled.by_group(self.rows))]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def of(self, part: dict[str, Array]) -> tuple[Array, Array]:
        """The values and sizes of the groups of a part of the rows."""
        raise NotImplementedError


class GroupedAuc(_Grouped):
    """Mean exact AUC of the groups with both classes, perhaps weighted by their rows."""

    def __init__(
        self, weight: str | None = None, weighted: bool = False, logits: bool = False
    ) -> None:
        super().__init__(weighted)
        self.by_size = weight == "impressions"

    def of(self, part: dict[str, Array]) -> tuple[Array, Array]:
        return exact.grouped_auc(part["score"], part["label"], part["group"], part.get("weight"))

    def value(self) -> float | None:
        values, sizes = self.per_group()
        if not len(values):
            return None
        return float(np.average(values, weights=sizes if self.by_size else None))


class GroupedXauc(_Grouped):
    """XAUC of the groups of two rows or more, weighted by their rows."""

    def __init__(self, logits: bool = False) -> None:
        super().__init__()

    def of(self, part: dict[str, Array]) -> tuple[Array, Array]:
        return exact.grouped_xauc(part["score"], part["label"], part["group"])

    def value(self) -> float | None:
        values, sizes = self.per_group()
        return float(np.average(values, weights=sizes)) if len(values) else None


def _column(scores: Array, number: int) -> Array:
    return scores[:, number]


def _nll(preds: Tensor, target: Tensor) -> Tensor:
    eps = torch.finfo(preds.dtype).eps
    p = preds.double().clamp(eps, 1 - eps)
    if p.ndim == 2:
        return -torch.log(p.gather(1, target.long()[:, None])[:, 0] / p.sum(1))
    y = target.double()
    return -(y * torch.log(p) + (1 - y) * torch.log1p(-p))
