"""Labels -> tasks; and the columns that would give a label away."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphrec.errors import DataError, Problem, suggestion
from graphrec.importers.from_data.profile import Profile

__all__ = ["KINDS", "Label", "labels_of", "leak"]

KINDS = ("binary", "regression", "multiclass")
_TELLS = 0.985  # AUC of one column alone
_OUTCOMES = frozenset(
    ("click", "clk", "like", "follow", "comment", "forward", "share", "buy", "purchase", "order")
    + ("cart", "conversion", "convert", "play", "watch", "dwell", "rating", "label", "target")
    + ("view", "finish", "enter", "favorite", "fav", "collect", "reward", "subscribe", "install")
)
_AROUND = frozenset(
    ("is", "has", "did", "time", "s", "sec", "seconds", "ms", "long", "short", "profile", "item")
    + ("video", "valid", "complete", "y", "flag", "score")
)


@dataclass(frozen=True)
class Label:
    """A label column and the kind of its task; `log` where its values span orders of magnitude."""

    column: str
    kind: str
    classes: int = 0
    log: bool = False
    values: Any = None


def labels_of(
    names: Sequence[str], kinds: Mapping[str, str], columns: Mapping[str, Profile]
) -> list[Label]:
    """The labels; `kinds` where the user said so. DataError for those that can't be used."""
    problems, made = [], []
    for name in names:
        column = columns.get(name)
        if column is None:
            what = f"the data has no column `{name}`"
            problems.append(Problem("GR703", what, help=suggestion(name, columns, 40)))
        elif column.kind not in ("numbers", "truth values") or not column.quantiles:
            what = f"label `{name}` holds {column.kind}, but numbers are needed"
            problems.append(Problem("GR704", what))
        else:
            made.append(_label(column, kinds.get(name, "")))
    if problems:
        raise DataError(problems)
    return made


def _label(column: Profile, asked: str) -> Label:
    low, _, median, near, high = column.quantiles
    kind = asked or _guess(column)
    if kind == "multiclass":
        return Label(column.name, kind, max(int(high) + 1, 2), values=column.numbers)
    skewed = kind == "regression" and low >= 0 and near > 5 * max(median, 0.1)
    return Label(column.name, kind, log=skewed, values=column.numbers)


def _guess(column: Profile) -> str:
    low, high = column.quantiles[0], column.quantiles[-1]
    if (low, high) in ((0, 1), (0, 0), (1, 1)) and column.distinct <= 2:
        return "binary"
    few = column.whole and low == 0 and 2 < column.distinct <= 50
    return "multiclass" if few and high + 1 == column.distinct else "regression"


def leak(column: Profile, labels: Sequence[Label]) -> str:
    """Why a column would tell a label, or ""."""
    if _is_outcome(column.name) and not column.is_list and column.kind != "text":
        return "looks like another outcome: --label it, or add it where it is known beforehand"
    for label in labels:
        if label.kind == "binary":
            auc = _auc(column, label)
            if auc > _TELLS:
                return f"tells `{label.column}` nearly by itself (AUC {auc:.3f}): known too late?"
    return ""


def _is_outcome(name: str) -> bool:
    words = {word for word in re.split(r"[^a-z]+", name.lower()) if word}
    return bool(words & _OUTCOMES) and words <= _OUTCOMES | _AROUND


def _auc(column: Profile, label: Label) -> float:
    """How well one column alone tells a binary label: by its order or the mean of each value."""
    if column.codes is not None and column.distinct <= 0.02 * column.rows:
        codes = column.codes.indices.to_numpy(zero_copy_only=False).astype(np.float64)
        codes = np.where(np.isfinite(codes), codes, column.distinct).astype(np.int64)
        good = np.isfinite(label.values)
        rows = np.bincount(codes[good], minlength=column.distinct + 1)
        hits = np.bincount(codes[good], label.values[good], minlength=column.distinct + 1)
        scores = (hits / np.maximum(rows, 1))[codes]
    elif column.numbers is not None:
        scores = np.nan_to_num(column.numbers)
    else:
        return 0.5
    known = np.isfinite(label.values)
    scores, truth = scores[known], label.values[known] > 0
    ones, zeros = int(truth.sum()), int((~truth).sum())
    if not ones or not zeros:
        return 0.5
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    auc = (ranks[places][truth].sum() - ones * (ones + 1) / 2) / (ones * zeros)
    return float(max(auc, 1 - auc))
