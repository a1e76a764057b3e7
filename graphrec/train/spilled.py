"""The exact metrics over `Rows` of any number, in memory that does not grow with them."""

from __future__ import annotations

from functools import partial

import numpy as np

from graphrec.train import exact
from graphrec.train.exact import Array
from graphrec.train.train_rows import Rows

__all__ = ["auc", "by_group"]


def auc(rows: Rows) -> float | None:
    """AUC of columns `score`, `label` and perhaps `weight`.

    Beyond the memory limit the scores are cut at sampled quantiles; each cut and each range between
    two cuts is one piece, taken in rising order with the negative weight below it.
    """
    if not rows.spilled:
        table = rows.all() if len(rows) else {"score": np.zeros(0), "label": np.zeros(0)}
        return exact.auc(table["score"], table["label"], table.get("weight"))
    wins = positive = below = 0.0
    for low, high in _pieces(rows):
        if low == high:
            ups, downs = _tied(rows, low)
            won = ups * (below + downs / 2)
        else:
            part = rows.select(partial(_between, low=low, high=high))
            won, ups, downs = exact.auc_measures(
                part["score"], part["label"], part.get("weight"), below
            )
        wins, positive, below = wins + won, positive + ups, below + downs
    return wins / (positive * below) if positive > 0 and below > 0 else None


def by_group(rows: Rows) -> list[dict[str, Array]]:
    """The rows in pieces that hold whole groups (column `group`, integers)."""
    if not rows.spilled:
        return [rows.all()] if len(rows) else []
    count = 2 * len(rows) // rows.limit + 1
    return [rows.select(partial(_share, number=i, count=count)) for i in range(count)]


def _pieces(rows: Rows) -> list[tuple[float, float]]:
    """(cut, cut) for a single value and (cut, next) for what lies strictly between, rising."""
    step = max(1, len(rows) // 100_000)
    sample = np.concatenate([chunk["score"][::step] for chunk in rows.chunks()])
    count = 4 * len(rows) // rows.limit + 1
    cuts = np.unique(np.quantile(sample, np.linspace(0, 1, count + 1), method="nearest"))
    ends = [-np.inf, *[float(cut) for cut in cuts], np.inf]
    pieces = []
    for low, high in zip(ends, ends[1:], strict=False):
        pieces.append((low, high))
        if high != np.inf:
            pieces.append((high, high))
    return pieces


def _between(chunk: dict[str, Array], low: float, high: float) -> Array:
    inside: Array = (chunk["score"] > low) & (chunk["score"] < high)
    return inside


def _share(chunk: dict[str, Array], number: int, count: int) -> Array:
    inside: Array = chunk["group"] % count == number
    return inside


def _tied(rows: Rows, value: float) -> tuple[float, float]:
    """Positive and negative weight of the rows with this very score."""
    ups = downs = 0.0
    for chunk in rows.chunks():
        same = chunk["score"] == value
        positive, negative = exact.sides(chunk["label"], chunk.get("weight"))
        ups += float(np.sum(positive[same]))
        downs += float(np.sum(negative[same]))
    return ups, downs
