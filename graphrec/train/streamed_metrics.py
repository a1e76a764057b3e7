"""Metrics in bounded memory: sums in float64, and counts of scores by bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from graphrec.train import exact
from graphrec.train.score_bins import binned, thresholds

__all__ = [
    "Accuracy",
    "BinnedAuc",
    "LogLoss",
    "MeanError",
    "NormalizedEntropy",
    "mean_absolute_error",
    "mean_squared_error",
    "root_mean_squared_error",
]


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


def _nll(preds: Tensor, target: Tensor) -> Tensor:
    eps = torch.finfo(preds.dtype).eps
    p = preds.double().clamp(eps, 1 - eps)
    if p.ndim == 2:
        return -torch.log(p.gather(1, target.long()[:, None])[:, 0] / p.sum(1))
    y = target.double()
    return -(y * torch.log(p) + (1 - y) * torch.log1p(-p))
