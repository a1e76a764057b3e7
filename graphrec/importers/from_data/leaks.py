"""Columns that give a label away: outcomes of their own, and values that only one label has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphrec.data.quantiles import quantile_edges
from graphrec.importers.from_data.label_columns import Label
from graphrec.importers.from_data.profile import Profile

__all__ = ["leak"]

_TELLS = 0.985  # AUC of one column alone
_ORDERED = 0.995  # correlation of ranks with a number to be told
_PURE = 0.99  # share of the rarer label among rows of some values
_COVERS = 0.1  # share of the rarer label's rows that such values hold
_CHANCE = 1e-4  # that the rows of a value have one label all the same
_FINE, _COARSE = 50, 6  # buckets of a number
_FEWEST = 30  # rows of such values
_ROWS_A_VALUE = 50  # fewer rows, and a mean of their labels says nothing
_OUTCOMES = frozenset(
    ("click", "clk", "like", "follow", "comment", "forward", "share", "buy", "purchase", "order")
    + ("cart", "conversion", "convert", "play", "watch", "dwell", "rating", "label", "target")
    + ("view", "finish", "enter", "favorite", "fav", "collect", "reward", "subscribe", "install")
)
_AROUND = frozenset(
    ("is", "has", "did", "time", "s", "sec", "seconds", "ms", "long", "short", "profile", "item")
    + ("video", "valid", "complete", "y", "flag", "score")
)


def leak(column: Profile, labels: Sequence[Label]) -> str:
    """Why a column would tell a label, or ""."""
    if _is_outcome(column.name) and not column.is_list and column.kind != "text":
        return "looks like another outcome: --label it, or add it where it is known beforehand"
    fine, coarse = _places(column, _FINE), _places(column, _COARSE)
    for label in labels:
        if label.kind == "binary" and fine is not None:
            why = _told(column, fine, label) or _one_sided(coarse, label)
        elif label.kind == "regression":
            why = _ordered(column, label)
        else:
            continue
        if why:
            return why
    return ""


def _is_outcome(name: str) -> bool:
    words = {word for word in re.split(r"[^a-z]+", name.lower()) if word}
    return bool(words & _OUTCOMES) and words <= _OUTCOMES | _AROUND


def _places(column: Profile, buckets: int) -> Any:
    """A small number for each row: its value, its bucket, or (0) that it has none."""
    if column.present is None:
        return None
    if column.codes is not None and column.distinct * _ROWS_A_VALUE <= column.rows:
        codes = column.codes.indices.to_numpy(zero_copy_only=False).astype(np.float64)
        return np.where(np.isfinite(codes), codes + 1, 0).astype(np.int64)
    if column.numbers is None:
        return column.present.astype(np.int64)
    known = np.isfinite(column.numbers)
    buckets = max(2, min(buckets, column.rows // _ROWS_A_VALUE))
    edges = quantile_edges(column.numbers[known], buckets) if known.any() else np.empty(0)
    return np.where(known, np.searchsorted(edges, column.numbers, side="right") + 1, 0)


def _told(column: Profile, places: Any, label: Label) -> str:
    known = np.isfinite(label.values)
    places, truth = places[known], label.values[known] > 0
    rows = np.bincount(places)
    hits = np.bincount(places, truth, minlength=len(rows))
    if truth.all() or not truth.any():
        return ""
    auc = _auc((hits / np.maximum(rows, 1)), rows, hits)
    if auc > _TELLS:
        nulls = _auc(np.arange(2.0), *_by_presence(column, known, truth))
        how = "where it is missing" if max(nulls, 1 - nulls) > _TELLS else "nearly by itself"
        return f"tells `{label.column}` {how} (AUC {auc:.3f}): known too late?"
    return ""


def _one_sided(places: Any, label: Label) -> str:
    """Values that the rarer label alone has: an amount that is paid where somebody bought."""
    known = np.isfinite(label.values)
    places, truth = places[known], label.values[known] > 0
    rows = np.bincount(places)
    hits = np.bincount(places, truth, minlength=len(rows))
    ones, zeros = int(truth.sum()), int((~truth).sum())
    if not ones or not zeros:
        return ""
    rare, of_rare = (hits, ones) if ones <= zeros else (rows - hits, zeros)
    unlikely = rows * np.log(of_rare / (ones + zeros)) < np.log(_CHANCE)
    pure = (rare >= _PURE * rows) & unlikely
    told = int(rare[pure].sum())
    if told >= max(_FEWEST, _COVERS * of_rare):
        value = "1" if ones <= zeros else "0"
        share = f"{told / of_rare:.0%} of them"
        return f"has values that only `{label.column}` = {value} has ({share}): known too late?"
    return ""


def _by_presence(column: Profile, known: Any, truth: Any) -> tuple[Any, Any]:
    present = column.present[known].astype(np.int64)
    return np.bincount(present, minlength=2), np.bincount(present, truth, minlength=2)


def _auc(scores: Any, rows: Any, hits: Any) -> float:
    """The AUC of places with `scores`, `rows`, and `hits` whose label is 1; ties count half."""
    _, groups = np.unique(scores, return_inverse=True)
    ones, zeros = np.bincount(groups, hits), np.bincount(groups, rows - hits)
    below = np.cumsum(zeros) - zeros
    return float((ones * (below + zeros / 2)).sum() / (ones.sum() * zeros.sum()))


def _ordered(column: Profile, label: Label) -> str:
    """A number whose order is that of the label's."""
    if column.numbers is None:
        return ""
    known = np.isfinite(column.numbers) & np.isfinite(label.values)
    if known.sum() < _FEWEST or column.distinct < 3:
        return ""
    own, theirs = (np.argsort(np.argsort(x[known])) for x in (column.numbers, label.values))
    alike = abs(float(np.corrcoef(own.astype(np.float64), theirs.astype(np.float64))[0, 1]))
    if alike <= _ORDERED:
        return ""
    return f"is in the order of `{label.column}` ({alike:.3f}): known too late?"
