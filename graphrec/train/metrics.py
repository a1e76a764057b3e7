"""Metrics of the evaluation, as `torchmetrics.Metric` classes: exact over the whole set.

Every `update` takes predictions, labels, perhaps weights [B], perhaps group keys [B] (int64), of
rows that have a label; `compute` gives a float, or None where the metric is not available.
Sums are kept in float64; what needs the rows themselves keeps them in `Rows`, which spill to disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from graphrec.data.chunk import NULL_KEY
from graphrec.recipe.calls import Call
from graphrec.recipe.tasks import metric_parameters
from graphrec.train import exact, spilled
from graphrec.train.exact import Array
from graphrec.train.ranking import class_log_odds
from graphrec.train.train_rows import Rows

__all__ = [
    "Accuracy",
    "Auc",
    "BinnedAuc",
    "GroupedAuc",
    "GroupedXauc",
    "LogLoss",
    "MeanError",
    "MulticlassAuc",
    "NormalizedEntropy",
    "Xauc",
    "make_metric",
]


class _OwnRows(Metric):
    """A metric of the rows it was given: torchmetrics would ask all processes of a job for theirs,
    where rank 0 alone measures what every rank has scored.
    """

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)


class _Streaming(_OwnRows):
    """Sums in float64, named by the subclass."""

    full_state_update = False
    sums: tuple[str, ...] = ("total", "mass")

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

    def ratio(self) -> float | None:
        return float(self.total / self.mass) if float(self.mass) > 0 else None

    total: Tensor
    mass: Tensor


class LogLoss(_Streaming):
    """Mean negative log likelihood of probabilities [B] or [B, C], clipped at their epsilon."""

    def update(
        self, preds: Tensor, target: Tensor, weight: Tensor | None = None, group: Any = None
    ) -> None:
        mass = self.weights(preds, weight)
        self.add(total=(_nll(preds, target) * mass).sum(), mass=mass.sum())

    def compute(self) -> float | None:
        return self.ratio()


class NormalizedEntropy(_Streaming):
    """Sum of the log loss over the entropy of the base rate."""

    sums = ("total", "mass", "positive")
    positive: Tensor

    def update(
        self, preds: Tensor, target: Tensor, weight: Tensor | None = None, group: Any = None
    ) -> None:
        mass = self.weights(preds, weight)
        total = (_nll(preds, target) * mass).sum()
        self.add(total=total, mass=mass.sum(), positive=(mass * (target > 0)).sum())

    def compute(self) -> float | None:
        rate = float(self.positive / self.mass) if float(self.mass) > 0 else 0.0
        if not 0 < rate < 1:
            return None
        entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
        return float(self.total / self.mass) / float(entropy)


class Accuracy(_Streaming):
    """Share of rows whose class is right: the most probable, or probability above the threshold."""

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold

    def update(
        self, preds: Tensor, target: Tensor, weight: Tensor | None = None, group: Any = None
    ) -> None:
        guess = preds.argmax(1) if preds.ndim == 2 else (preds > self.threshold).long()
        self.add(
            total=(guess == target.long()).sum().double(), mass=torch.tensor(float(len(guess)))
        )

    def compute(self) -> float | None:
        return self.ratio()


class MeanError(_Streaming):
    """Mean of |p - y|^power, perhaps its root: mae, mse, rmse."""

    def __init__(self, power: int, root: bool = False) -> None:
        super().__init__()
        self.power, self.root = power, root

    def update(
        self, preds: Tensor, target: Tensor, weight: Tensor | None = None, group: Any = None
    ) -> None:
        error = (preds.double() - target.double()).abs() ** self.power
        self.add(total=error.sum(), mass=torch.tensor(float(len(error))))

    def compute(self) -> float | None:
        mean = self.ratio()
        return float(np.sqrt(mean)) if self.root and mean is not None else mean


class BinnedAuc(_OwnRows):
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


class _Stored(_OwnRows):
    """Keeps the rows."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows()

    def reset(self) -> None:
        super().reset()
        self.rows = Rows()

    def update(
        self, preds: Tensor, target: Tensor, weight: Tensor | None = None, group: Any = None
    ) -> None:
        self.rows.append(score=preds.detach().cpu().numpy(), label=target.cpu().numpy())


class Auc(_Stored):
    """Exact area under the ROC curve; ties count half, one class only is not available."""

    def __init__(self, weighted: bool = False) -> None:
        super().__init__()
        self.weighted = weighted

    def update(
        self, preds: Tensor, target: Tensor, weight: Tensor | None = None, group: Any = None
    ) -> None:
        columns = {"score": preds.detach().cpu().numpy(), "label": target.cpu().numpy()}
        if self.weighted and weight is not None:
            columns["weight"] = weight.cpu().numpy()
        self.rows.append(**columns)

    def compute(self) -> float | None:
        return spilled.auc(self.rows)


class MulticlassAuc(_Stored):
    """Mean over the classes that occur of the AUC of one class against the rest.

    Predictions are probabilities [B, C], or logits with `logits`.
    """

    def __init__(self, logits: bool = False) -> None:
        super().__init__()
        self.logits = logits

    def compute(self) -> float | None:
        table = self.rows.all()
        score, label = table["score"], table["label"]
        values = [
            exact.auc(class_log_odds(score, c) if self.logits else score[:, c], label == c)
            for c in range(score.shape[1])
        ]
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None


class Xauc(_Stored):
    """Share of all pairs, or of `sample` seeded ones, in the right order; ties are wrong."""

    def __init__(self, sample: int | None = None) -> None:
        super().__init__()
        self.sample = sample

    def compute(self) -> float | None:
        table = self.rows.all()
        score, target = table["score"], table["label"]
        if self.sample is None or len(score) < 2:
            return exact.xauc(score, target)
        draw = np.random.default_rng(0)
        i = draw.integers(0, len(score), self.sample)
        j = (i + draw.integers(1, len(score), self.sample)) % len(score)
        rising = np.sign(score[i].astype(np.float64) - score[j])
        return float(np.mean(rising * np.sign(target[i] - target[j]) > 0))


class _Grouped(_Stored):
    def update(
        self, preds: Tensor, target: Tensor, weight: Tensor | None = None, group: Any = None
    ) -> None:
        codes = np.asarray(group)
        known = codes != NULL_KEY
        self.rows.append(
            score=preds.detach().cpu().numpy()[known],
            label=target.cpu().numpy()[known],
            group=codes[known],
        )

    def per_group(self) -> tuple[Array, Array]:
        parts = [(np.zeros(0), np.zeros(0)), *map(self.of, spilled.by_group(self.rows))]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def of(self, part: dict[str, Array]) -> tuple[Array, Array]:
        raise NotImplementedError


class GroupedAuc(_Grouped):
    """Mean exact AUC of the groups with both classes, perhaps weighted by their rows."""

    def __init__(self, by_size: bool = False) -> None:
        super().__init__()
        self.by_size = by_size

    def of(self, part: dict[str, Array]) -> tuple[Array, Array]:
        return exact.grouped_auc(part["score"], part["label"], part["group"])

    def compute(self) -> float | None:
        values, sizes = self.per_group()
        if not len(values):
            return None
        return float(np.average(values, weights=sizes if self.by_size else None))


class GroupedXauc(_Grouped):
    """XAUC of the groups of two rows or more, weighted by their rows."""

    def of(self, part: dict[str, Array]) -> tuple[Array, Array]:
        return exact.grouped_xauc(part["score"], part["label"], part["group"])

    def compute(self) -> float | None:
        values, sizes = self.per_group()
        return float(np.average(values, weights=sizes)) if len(values) else None


def make_metric(call: Call, logits: bool = False) -> Metric:
    """The metric a recipe names, with its arguments.

    `logits`: one that ranks gets log-odds (`ranking_scores`) instead of probabilities.
    """
    p: Any = metric_parameters(call)
    if call.name == "auc" and p.bins is not None:
        return BinnedAuc(p.bins, p.weighted, logits)
    if call.name in ("mae", "mse", "rmse"):
        return MeanError(1 if call.name == "mae" else 2, root=call.name == "rmse")
    made: dict[str, Callable[[], Metric]] = {
        "accuracy": lambda: Accuracy(p.threshold),
        "auc": lambda: Auc(p.weighted),
        "gauc": lambda: GroupedAuc(p.weight == "impressions"),
        "gxauc": GroupedXauc,
        "logloss": lambda: LogLoss(p.weighted),
        "multiclass_auc": lambda: MulticlassAuc(logits),
        "normalized_entropy": lambda: NormalizedEntropy(p.weighted),
        "xauc": lambda: Xauc(p.sample),
    }
    return made[call.name]()


def thresholds(bins: int, logits: bool = False) -> Tensor:
    """Even steps of probability from 0 to 1; for logits the same, and more beyond the outermost.

    There, where a model that is sure has all its rows, steps grow by a hundredth, up to 20,000.
    """
    if not logits:
        return torch.linspace(0, 1, bins)
    inner: Tensor = torch.logit(torch.linspace(0, 1, bins, dtype=torch.float64)[1:-1])
    outer = torch.logspace(0, 999, 1000, base=1.01, dtype=torch.float64) - 1
    first, last = (inner[0], inner[-1]) if len(inner) else (torch.zeros(()), torch.zeros(()))
    edges = torch.cat([first - outer, inner[1:-1], last + outer])
    return edges.sort().values


def binned(score: Tensor, target: Tensor, edges: Tensor, mass: Tensor | None = None) -> Tensor:
    """Negative and positive weight [2, bins] by the last threshold each score reaches."""
    bins = len(edges)
    # A class's column of probabilities [B, C] is not contiguous, and searchsorted warns of that.
    score = score.detach().to(edges.dtype).contiguous()
    at = (torch.searchsorted(edges, score, right=True) - 1).clamp(0, bins - 1)
    at = at + bins * (target > 0).long()
    return torch.bincount(at, mass, minlength=2 * bins).double().reshape(2, bins)


def _nll(preds: Tensor, target: Tensor) -> Tensor:
    eps = torch.finfo(preds.dtype).eps
    p = preds.double().clamp(eps, 1 - eps)
    if p.ndim == 2:
        return -torch.log(p.gather(1, target.long()[:, None])[:, 0] / p.sum(1))
    y = target.double()
    return -(y * torch.log(p) + (1 - y) * torch.log1p(-p))
