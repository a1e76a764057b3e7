"""Metrics as plain functions of whole arrays, exact and in O(n log n); nothing here imports torch.

`None` means not available (one class only, no pair, no row), never 0 or NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Array",
    "auc",
    "auc_measures",
    "average_precision",
    "binned_auc",
    "concordant",
    "grouped_auc",
    "grouped_xauc",
    "sides",
    "xauc",
]

Array = NDArray[Any]


def auc(score: Array, label: Array, weight: Array | None = None) -> float | None:
    """Area under the ROC curve of scores [N] for labels [N] from 0 to 1; ties count half.

    A label between counts as that much of a positive row and the rest of a negative one.
    """
    wins, positive, negative = auc_measures(score, label, weight)
    return float(wins / (positive * negative)) if positive > 0 and negative > 0 else None


def auc_measures(
    score: Array, label: Array, weight: Array | None = None, below: float = 0.0
) -> tuple[float, float, float]:
    """Weight of pairs in order, of positives and of negatives.

    `below` is negative weight known to lie under all these scores: sets cut by score add up.
    """
    if not len(score):
        return 0.0, 0.0, 0.0
    order = np.argsort(score, kind="stable")
    ranked, (positive, negative) = score[order], sides(label[order], weight, order)
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    ups, downs = np.add.reduceat(positive, starts), np.add.reduceat(negative, starts)
    under = below + np.cumsum(downs) - downs
    return float(np.sum(ups * (under + downs / 2))), float(ups.sum()), float(downs.sum())


def average_precision(
    score: Array,
    label: Array,
    weight: Array | None = None,
    above: tuple[float, float] = (0.0, 0.0),
) -> float:
    """Sum over distinct scores of their positive weight times the precision down to there.

    Divided by all positive weight it is the area under the precision-recall curve, in steps.
    `above` is positive and negative weight known to lie over all these scores: sets cut by score
    add up.
    """
    order = np.argsort(-score, kind="stable")
    ranked, (positive, negative) = score[order], sides(label[order], weight, order)
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    ups, downs = np.add.reduceat(positive, starts), np.add.reduceat(negative, starts)
    right, wrong = above[0] + np.cumsum(ups), above[1] + np.cumsum(downs)
    return float(np.sum(ups * right / np.maximum(right + wrong, np.finfo(np.float64).tiny)))


def sides(label: Array, weight: Array | None = None, order: Array | None = None) -> Array:
    """Positive and negative weight of rows [2, N]; `weight` is put into their `order` first."""
    positive = np.clip(label.astype(np.float64), 0.0, 1.0)
    both = np.stack([positive, 1.0 - positive])
    if weight is None:
        return both
    return np.asarray(both * (weight if order is None else weight[order]).astype(np.float64))


def grouped_auc(
    score: Array, label: Array, group: Array, weight: Array | None = None
) -> tuple[Array, Array]:
    """AUC and weight of the rows of every group that has both classes."""
    if not len(score):
        return np.zeros(0), np.zeros(0)
    codes = np.unique(group, return_inverse=True)[1]
    order = np.lexsort((score, codes))
    ranked, of = score[order], codes[order]
    positive, negative = sides(label[order], weight, order)
    change = (ranked[1:] != ranked[:-1]) | (of[1:] != of[:-1])
    starts = np.flatnonzero(np.concatenate([[True], change]))
    ups, downs = np.add.reduceat(positive, starts), np.add.reduceat(negative, starts)
    tied = of[starts]
    all_up, all_down = np.bincount(tied, ups), np.bincount(tied, downs)
    before = np.cumsum(all_down) - all_down
    under = np.cumsum(downs) - downs - before[tied]
    wins = np.bincount(tied, ups * (under + downs / 2))
    both = (all_up > 0) & (all_down > 0)
    return wins[both] / (all_up[both] * all_down[both]), (all_up + all_down)[both]


def binned_auc(positive: Array, negative: Array) -> float | None:
    """AUC from the weight of both classes per bin of rising score; a bin's pairs count half."""
    ups, downs = positive.sum(), negative.sum()
    if not (ups > 0 and downs > 0):
        return None
    under = np.cumsum(negative) - negative
    return float(np.sum(positive * (under + negative / 2)) / (ups * downs))


def xauc(score: Array, target: Array) -> float | None:
    """Share of pairs with (t_i - t_j)(p_i - p_j) > 0."""
    if len(score) < 2:
        return None
    (right,) = concordant(score, target, np.zeros(len(score), dtype=np.int64))
    return float(right / (len(score) * (len(score) - 1) / 2))


def grouped_xauc(score: Array, target: Array, group: Array) -> tuple[Array, Array]:
    """XAUC and number of rows of every group of two rows or more."""
    if not len(score):
        return np.zeros(0), np.zeros(0)
    codes = np.unique(group, return_inverse=True)[1]
    right = concordant(score, target, codes)
    size = np.bincount(codes).astype(np.float64)
    pairs = size * (size - 1) / 2
    return right[pairs > 0] / pairs[pairs > 0], size[pairs > 0]


def concordant(score: Array, target: Array, codes: Array) -> Array:
    """Number of pairs in the same order by score and by target, for each group code 0..G-1.

    Rows are put in the order of (group, target, falling score) and ranked by (group, score, falling
    position): what is then out of order are the pairs to leave out, and no pair across groups.
    """
    order = np.lexsort((-score, target, codes))
    ranked, of = score[order], codes[order]
    position = np.arange(len(order))
    rank = np.empty(len(order), dtype=np.int64)
    rank[np.lexsort((-position, ranked, of))] = position
    size = np.bincount(of).astype(np.float64)
    return size * (size - 1) / 2 - np.bincount(of, _inversions(rank)[rank])


def _inversions(rank: Array) -> Array:
    """For each value of a permutation of 0..n-1: how many larger ones stand before it.

    Each pair is counted at the bit that tells the two apart: one stable partition per bit.
    """
    count = np.zeros(len(rank), dtype=np.float64)
    values, n = rank.astype(np.int64), len(rank)
    for bit in range(max(n - 1, 1).bit_length() - 1, -1, -1):
        one = (values >> bit) & 1
        start = (values >> (bit + 1)) << (bit + 1)
        ones = np.cumsum(one) - one
        ones -= ones[start]
        count[values] += np.where(one == 0, ones, 0)
        zeros = np.arange(n) - start - ones
        moved = np.empty_like(values)
        moved[start + np.where(one == 0, zeros, (1 << bit) + ones)] = values
        values = moved
    return count
