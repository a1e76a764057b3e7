"""Generated labels: drawn from the planted scores, with the probabilities they were drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from graphrec.data.chunk import Array
from graphrec.data.planted import Drawn, Planted
from graphrec.recipe.model import Recipe, Task

__all__ = ["LabelColumn", "Truth", "best_possible", "draw_labels", "label_columns"]

_BASE_RATE = 0.3  # positives: rare enough to show, frequent enough to learn from few rows
_STEEPNESS = 2.0  # standard deviation of a score in logits
_NOISE = 0.7  # of a regression label, where the score has standard deviation 1


@dataclass
class LabelColumn:
    """How one label column is generated; `gates` are the columns without which it is 0."""

    name: str
    kind: Literal["binary", "number", "class"]
    classes: int = 1
    centre: float = 0.0
    logarithm: bool = False
    gates: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    scores: list[Planted] = field(default_factory=list)
    offset: float = 0.0


@dataclass
class Truth:
    """Drawn labels [B] of a column, and what is known about them.

    `mean` [B] is the true probability (or expectation, or probabilities [B, C]) over all rows,
    `own` [B] the probability where the gates are open.
    """

    values: Array
    mean: Array
    own: Array


def label_columns(recipe: Recipe) -> list[LabelColumn]:
    """The label and space columns of a recipe, gates before what they gate."""
    columns: dict[str, LabelColumn] = {}
    for _, task in sorted(recipe.tasks.items()):
        if task.label is not None:
            label = _column(task)
            known = columns.setdefault(label.name, label)
            low, high = task.label.above, task.label.below
            if known.kind == "number" and low is not None:
                known.centre = low - 0.4
            elif known.kind == "number" and high is not None:
                known.centre = high + 0.4
    gates = _gates(recipe, columns)
    ordered: list[LabelColumn] = []

    def place(name: str, behind: tuple[str, ...]) -> None:
        if name in behind or any(known.name == name for known in ordered):
            return
        column = columns.setdefault(name, LabelColumn(name, "binary"))
        if column.kind == "binary":
            wanted = [gate for gate in sorted(gates.get(name, ())) if gate not in (*behind, name)]
            for gate in wanted:
                place(gate, (*behind, name))
            column.gates = tuple(gate for gate in wanted if columns[gate].kind == "binary")
        ordered.append(column)

    for name in sorted({*columns, *gates}):
        place(name, ())
    return ordered


def _column(task: Task) -> LabelColumn:
    label = task.label
    assert label is not None
    if task.kind == "multiclass":
        return LabelColumn(label.column, "class", task.classes or 2, texts=label.classes)
    cut = label.above is not None or label.below is not None
    if task.kind == "regression" or cut or label.transform != "none":
        return LabelColumn(label.column, "number", centre=3.0, logarithm=label.transform == "log1p")
    return LabelColumn(label.column, "binary", texts=label.classes)


def _gates(recipe: Recipe, columns: Mapping[str, LabelColumn]) -> dict[str, set[str]]:
    """Label column -> columns that must be 1 for it to be 1: its space and its parents."""
    labels = {name: task.label.column for name, task in recipe.tasks.items() if task.label}
    gates: dict[str, set[str]] = {}
    for name, task in recipe.tasks.items():
        if name in labels and task.space is not None:
            gates.setdefault(labels[name], set()).add(
                labels.get(task.space.label, task.space.label)
            )
    for relation in recipe.relations:
        if relation.child in labels:
            parents = {labels[parent] for parent in relation.parents if parent in labels}
            gates.setdefault(labels[relation.child], set()).update(parents)
    return gates


def fit_labels(columns: list[LabelColumn], sample: Drawn, make: Callable[[str], Planted]) -> None:
    """Give every column its planted scores, and the offset that makes its base rate sensible."""
    shared = make("shared")
    for column in columns:
        column.scores = [shared]
        number = column.classes if column.kind == "class" else 1
        column.scores += [make(f"{column.name}/{i}") for i in range(number)]
        if column.kind == "binary":
            scores = _score(column, sample, 0) * _STEEPNESS
            open_: Array = np.ones(len(scores))
            for gate in _ancestors(column, columns):
                behind = next(c for c in columns if c.name == gate)
                open_ = open_ * _own(behind, sample)
            column.offset = _offset(scores, open_ / open_.sum())


def _offset(scores: Array, weights: Array) -> float:
    """What to add to the scores for the base rate, where the gates are open."""
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        enough = float((_sigmoid(scores + middle) * weights).sum()) >= _BASE_RATE
        low, high = (low, middle) if enough else (middle, high)
    return low


def _own(column: LabelColumn, drawn: Drawn) -> Array:
    """Probability of a binary column where its gates are open."""
    return _sigmoid(_score(column, drawn, 0) * _STEEPNESS + column.offset)


def draw_labels(columns: list[LabelColumn], drawn: Drawn, random: Any) -> dict[str, Truth]:
    """Labels of some rows, in the order of the columns."""
    truths: dict[str, Truth] = {}
    for column in columns:
        rows = len(_score(column, drawn, 0))
        if column.kind == "class":
            scores = (
                np.stack([_score(column, drawn, i) for i in range(column.classes)], 1) * _STEEPNESS
            )
            odds = np.exp(scores - scores.max(axis=1, keepdims=True))
            probabilities = odds / odds.sum(axis=1, keepdims=True)
            values = (scores + random.gumbel(size=scores.shape)).argmax(axis=1)
            truths[column.name] = Truth(values, probabilities, probabilities)
        elif column.kind == "number":
            mean = column.centre + _score(column, drawn, 0)
            values = mean + _NOISE * random.normal(size=rows)
            truths[column.name] = Truth(values, mean, mean)
        else:
            own = _own(column, drawn)
            values = (random.random(rows) < own).astype(np.int8)
            mean = own
            for gate in _ancestors(column, columns):
                values = values * truths[gate].values
                mean = mean * truths[gate].own
            truths[column.name] = Truth(values.astype(np.int8), mean, own)
    return truths


def _ancestors(column: LabelColumn, columns: list[LabelColumn]) -> list[str]:
    by_name = {known.name: known for known in columns}
    gates: set[str] = set()
    waiting = list(column.gates)
    while waiting:
        name = waiting.pop()
        if name not in gates:
            gates.add(name)
            waiting.extend(by_name[name].gates)
    return sorted(gates)


def raw_labels(column: LabelColumn, truth: Truth) -> Any:
    """The column as it stands in the data."""
    if column.texts:
        return pa.array(np.asarray(column.texts, dtype=object)[truth.values.astype(np.int64)])
    if column.kind == "class":
        return pa.array(truth.values.astype(np.int32))
    if column.kind == "binary":
        return pa.array(truth.values)
    values = (
        np.sign(truth.values) * np.expm1(np.abs(truth.values)) if column.logarithm else truth.values
    )
    return pa.array(values.astype(np.float32))


def best_possible(
    task: Task, column: LabelColumn, truth: Truth, inside: Array | None
) -> dict[str, float]:
    """Metrics of the true probabilities on these rows; over `inside` only where given."""
    values, mean = truth.values, truth.mean
    if inside is not None:
        values, mean = values[inside], truth.own[inside]
    if column.kind == "class":
        chosen = mean[np.arange(len(values)), values]
        areas = [_auc(mean[:, c], values == c) for c in range(column.classes)]
        return {
            "accuracy": float((mean.argmax(axis=1) == values).mean()),
            "multiclass_auc": float(np.mean(areas)),
            "logloss": float(-np.log(chosen).mean()),
        }
    low, high = (task.label.above, task.label.below) if task.label else (None, None)
    if column.kind == "number" and low is None and high is None:
        error = values - mean
        return {"mse": float((error**2).mean()), "mae": float(np.abs(error).mean())}
    if column.kind == "number":
        low, high = -np.inf if low is None else low, np.inf if high is None else high
        mean = _normal_cdf((mean - low) / _NOISE) - _normal_cdf((mean - high) / _NOISE)
        values = (values > low) & (values < high)
    clipped = np.clip(mean, 1e-7, 1 - 1e-7)
    loss = -np.where(values > 0, np.log(clipped), np.log1p(-clipped)).mean()
    return {"auc": _auc(mean, values > 0), "logloss": float(loss)}


def _score(column: LabelColumn, drawn: Drawn, number: int) -> Array:
    shared, own = column.scores[0], column.scores[1 + number]
    if column.kind == "class":  # what all classes share would cancel
        return own.standard(drawn)
    return 0.954 * shared.standard(drawn) + 0.3 * own.standard(drawn)


def _sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def _normal_cdf(x: Array) -> Array:
    """Of the normal distribution, to 2e-7 (Abramowitz and Stegun, 7.1.26)."""
    z = np.abs(x) / np.sqrt(2.0)
    t = 1.0 / (1.0 + 0.3275911 * z)
    weights = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
    tail = np.exp(-z * z) * sum(w * t ** (i + 1) for i, w in enumerate(weights))
    area: Array = np.where(x < 0, tail / 2, 1 - tail / 2)
    return area


def _auc(scores: Array, positive: Array) -> float:
    """Area under the ROC curve; NaN with one class."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    first = np.r_[True, ranked[1:] != ranked[:-1]]
    group = np.cumsum(first) - 1
    counts = np.bincount(group)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    hits = int(positive.sum())
    misses = len(scores) - hits
    if not hits or not misses:
        return float("nan")
    return float((ranks[group][positive[order]].sum() - hits * (hits + 1) / 2) / (hits * misses))
