"""Metrics that need every row at once: the rows are kept, on disk where they are many."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torchmetrics import Metric

from graphrec.data.chunk import NULL_KEY
from graphrec.train import exact, spilled
from graphrec.train.exact import Array
from graphrec.train.ranking import class_log_odds
from graphrec.train.train_rows import Rows

__all__ = ["Auc", "AveragePrecision", "GroupedAuc", "GroupedXauc", "MulticlassAuc", "Xauc"]


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
