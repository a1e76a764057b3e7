"""Whether integers are measures or identities, told from how their values lie."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["measures"]

_FEWEST = 20  # distinct values: with fewer a shape says nothing
_TAIL = 5.0  # span of the larger half of the distinct values, in spans of the smaller half
_SKEW = 8.0  # 99 % quantile, in medians


def measures(numbers: Any) -> bool:
    """Whether whole numbers look like amounts, counts or sizes; identities where nothing says so.

    Signs of a measure: several values below zero; round numbers; a long tail whose gaps grow;
    frequencies that rise and fall smoothly. Identities lie evenly, whatever their size.
    """
    known = numbers[np.isfinite(numbers)]
    values, counts = np.unique(known, return_counts=True)
    if (values < 0).sum() > 1:  # one alone, -1 say, is a code for what is missing
        return True
    values, counts = values[values >= 0], counts[values >= 0]
    if len(values) < _FEWEST:
        return False
    return _is_round(values) or _has_tail(values, known) or _is_smooth(values, counts)


def _is_round(values: Any) -> bool:
    """Prices and salaries end in zeros."""
    return bool(values[-1] >= 1000 and np.mean(values % 10 == 0) > 0.9)


def _has_tail(values: Any, known: Any) -> bool:
    """Counts crowd near zero, and the larger they are the farther they lie apart."""
    middle = values[len(values) // 2]
    median, high = np.quantile(known, (0.5, 0.99))
    tail = values[-1] - middle > _TAIL * (middle - values[0])
    return bool(tail and high > _SKEW * max(median, 1.0))


def _is_smooth(values: Any, counts: Any) -> bool:
    """Ages, heights: neighbours are about as frequent, the most frequent are not the smallest."""
    below = np.cumsum(counts) / counts.sum()
    inner = (below > 0.01) & (below < 0.99)
    values, counts = values[inner], counts[inner]
    if len(values) < _FEWEST:
        return False
    span = int(values[-1] - values[0]) + 1
    if len(values) < 0.8 * span or counts.sum() < 20 * len(values):
        return False
    filled = np.zeros(span)
    filled[(values - values[0]).astype(np.int64)] = counts
    wide = np.convolve(filled, np.ones(5) / 5, mode="valid")
    mode = float(np.argmax(wide)) / len(wide)
    alike = float(np.corrcoef(filled[:-1], filled[1:])[0, 1])
    return alike > 0.8 and 0.05 < mode < 0.95
