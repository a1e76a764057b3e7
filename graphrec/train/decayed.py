"""Metrics shown while training: they decay, so that they speak of the last few hundred updates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from graphrec.recipe.calls import Call
from graphrec.recipe.metric_table import METRICS
from graphrec.recipe.metric_table import Metric as Declared
from graphrec.recipe.tasks import decay_parameters
from graphrec.train import exact
from graphrec.train.metrics import make_metric
from graphrec.train.score_bins import binned, thresholds

__all__ = ["Decayed", "DecayedAuc", "DecayedXauc", "make_decayed"]

_TOGETHER = 8192
"""Rows of a training AUC that are counted at once, so much and no more is kept of them."""


class Decayed:
    """A metric over every `step` updates, v <- rate v + (1 - rate) new; None before the first."""

    def __init__(self, metric: str | Metric, step: int = 100, rate: float = 0.9) -> None:
        self.metric: Any = make_metric(Call(metric)) if isinstance(metric, str) else metric
        self.step, self.rate = step, rate
        self.updates = 0
        self.value: float | None = None

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch; rows have labels."""
        if len(target):
            self.metric.update(preds.detach(), target)
        self.updates += 1
        if self.updates % self.step == 0:
            new = self.metric.compute() if self.metric.update_called else None
            if new is not None:
                old = self.value
                self.value = new if old is None else self.rate * old + (1 - self.rate) * new
            self.metric.reset()

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        value = torch.tensor(torch.nan if self.value is None else self.value, dtype=torch.float64)
        counters = torch.tensor([self.updates, self.metric._update_count])
        sums = {f"sums.{name}": getattr(self.metric, name) for name in self.metric._defaults}
        return {"counters": counters, "value": value, **sums}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state()`."""
        self.updates, self.metric._update_count = (int(n) for n in state["counters"])
        value = float(state["value"])
        self.value = None if value != value else value
        for name in self.metric._defaults:
            setattr(self.metric, name, state[f"sums.{name}"])


class DecayedAuc:
    """AUC from decaying counts per score bin: every `step` updates C <- rate C + (1 - rate) new.

    Scores are probabilities, or log-odds with `logits`.
    """

    def __init__(
        self, step: int = 100, rate: float = 0.9, bins: int = 200, logits: bool = False
    ) -> None:
        self.step, self.rate = step, rate
        self.bins, self.thresholds = bins, thresholds(bins, logits)
        self.buffer = torch.zeros(2, len(self.thresholds), dtype=torch.float64)
        self.counts = torch.zeros_like(self.buffer)
        self.updates = 0
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._rows = 0

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch; rows have labels."""
        # Small batches are counted together: a dozen operations for each would cost more than all
        # that they count.
        self._waiting.append((preds.detach(), target))
        self._rows += len(target)
        if self._rows >= _TOGETHER:
            self._count()
        self.updates += 1
        if self.updates % self.step == 0:
            self.decay(self.rate)

    def decay(self, rate: float) -> None:
        """Let the counts so far fade by `rate`, and those since the last time enter."""
        self._count()
        first = not bool(self.counts.any())
        self.counts = self.buffer if first else rate * self.counts + (1 - rate) * self.buffer
        self.buffer = torch.zeros_like(self.buffer)

    def _count(self) -> None:
        """Put the rows that wait into their bins."""
        if self._waiting:
            preds, target = (torch.cat(columns) for columns in zip(*self._waiting, strict=True))
            self.buffer = self.buffer + binned(preds, target, self.thresholds)
            self._waiting, self._rows = [], 0

    @property
    def value(self) -> float | None:
        """AUC over the decayed counts, None before the first boundary."""
        return exact.binned_auc(self.counts[1].numpy(), self.counts[0].numpy())

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        self._count()
        return {
            "updates": torch.tensor(self.updates),
            "buffer": self.buffer,
            "counts": self.counts,
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state()`."""
        self._waiting, self._rows = [], 0
        self.updates = int(state["updates"])
        self.buffer, self.counts = self._whole(state["buffer"]), self._whole(state["counts"])

    def _whole(self, counts: Tensor) -> Tensor:
        """Counts over these bins, from a checkpoint that knew the inner ones only."""
        missing = len(self.thresholds) - counts.shape[1]
        if counts.shape[1] != self.bins or missing <= 0:
            return counts
        outer = torch.zeros(2, missing // 2, dtype=counts.dtype)
        return torch.cat([outer, counts, outer, torch.zeros(2, missing % 2)], dim=1)


class DecayedXauc:
    """Exact XAUC of the rows of every `step` updates, v <- rate v + (1 - rate) new.

    Those rows are kept until then, eight bytes each; fewer than two give no new value.
    """

    def __init__(self, step: int = 100, rate: float = 0.9) -> None:
        self.step, self.rate = step, rate
        self.updates = 0
        self.value: float | None = None
        self._rows: list[Tensor] = []

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch; rows have labels."""
        self._rows.append(torch.stack([preds.detach().float(), target.float()]).cpu())
        self.updates += 1
        if self.updates % self.step == 0:
            score, label = self._kept().numpy()
            new = exact.xauc(score, label)
            if new is not None:
                old = self.value
                self.value = new if old is None else self.rate * old + (1 - self.rate) * new
            self._rows = []

    def _kept(self) -> Tensor:
        """(scores, labels) since the last value, [2, N]."""
        return torch.cat(self._rows, dim=1) if self._rows else torch.zeros(2, 0)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        value = torch.tensor(torch.nan if self.value is None else self.value, dtype=torch.float64)
        return {"updates": torch.tensor(self.updates), "value": value, "rows": self._kept()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state()`."""
        self.updates, value = int(state["updates"]), float(state["value"])
        self.value = None if value != value else value
        self._rows = [state["rows"]]


def make_decayed(
    call: Call, metrics: Mapping[str, type[Declared]] = METRICS, *, logits: bool = False
) -> Decayed | DecayedAuc | DecayedXauc:
    """The training metric a recipe names: `auc`, `mae(step=50, rate=0.8)`.

    `logits`: one that ranks gets log-odds instead of probabilities.
    """
    p = decay_parameters(call)
    if call.name == "auc":
        return DecayedAuc(p.step, p.rate, p.bins, logits)
    if call.name == "xauc":
        return DecayedXauc(p.step, p.rate)
    return Decayed(make_metric(Call(call.name), metrics, logits=logits), p.step, p.rate)
