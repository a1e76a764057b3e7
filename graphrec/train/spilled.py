"""The exact metrics over `Rows` of any number, in memory that does not grow with them.

Rows beyond the limit are cut at sampled quantiles of a column. A cut and the range below it are two
parts, 2 i + 1 and 2 i, in rising order: rows that equal a cut may be many, and are never all read.

Kept, though the binned metrics of torchmetrics need no such file: two models are compared by an
exact AUC over a day of rows, their difference is smaller than a bin, and the memory of a machine
must not decide whether it can be had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from graphrec.train import exact
from graphrec.train.exact import Array
from graphrec.train.train_rows import Rows

__all__ = ["auc", "average_precision", "by_group", "class_auc", "xauc"]


def auc(rows: Rows) -> float | None:
    """AUC of columns `score`, `label` and perhaps `weight`."""
    if not rows.spilled:
        table = rows.all() if len(rows) else {"score": np.zeros(0), "label": np.zeros(0)}
        return exact.auc(table["score"], table["label"], table.get("weight"))
    mass, tables = _by_score(rows)
    wins = 0.0
    for part, table in tables:
        below = mass[1, :part].sum()
        won, *_ = exact.auc_measures(
            table["score"], table["label"], table.get("weight"), float(below)
        )
        wins += won
    ups, downs = mass[:, 1::2]
    under = np.cumsum(mass[1])[1::2] - downs
    wins += float(np.sum(ups * (under + downs / 2)))
    positive, negative = (float(total) for total in mass.sum(axis=1))
    return wins / (positive * negative) if positive > 0 and negative > 0 else None


def average_precision(rows: Rows) -> float | None:
    """Average precision of `score`, `label` and perhaps `weight`; None without positives."""
    if not len(rows):
        return None
    if not rows.spilled:
        table = rows.all()
        columns = table["score"], table["label"], table.get("weight")
        whole = float(exact.sides(*columns[1:])[0].sum())
        return exact.average_precision(*columns) / whole if whole > 0 else None
    mass, tables = _by_score(rows)
    total = 0.0
    for part, table in tables:
        above = mass[:, part + 1 :].sum(axis=1)
        columns = table["score"], table["label"], table.get("weight")
        total += exact.average_precision(*columns, (float(above[0]), float(above[1])))
    over = np.cumsum(mass[:, ::-1], axis=1)[:, ::-1]  # with the part itself
    ties = mass[0, 1::2] > 0
    ups, both = mass[0, 1::2][ties], over[:, 1::2][:, ties]
    total += float(np.sum(ups * both[0] / both.sum(axis=0)))
    positive = float(mass[0].sum())
    return total / positive if positive > 0 else None


def class_auc(rows: Rows, scores_of: Callable[[Array, int], Array]) -> float | None:
    """Mean over the classes that occur of the AUC of one class against the rest.

    Columns `score` [N, C], `label` and perhaps `weight`; `scores_of` gives those of a class.
    """
    values = []
    classes = next(rows.chunks())["score"].shape[1]
    for number in range(classes):
        one = Rows(rows.limit)
        for chunk in rows.chunks():
            scores, label = scores_of(chunk["score"], number), chunk["label"] == number
            beside = {name: chunk[name] for name in chunk if name == "weight"}
            one.append(score=scores, label=label, **beside)
        values.append(auc(one))
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def xauc(rows: Rows) -> float | None:
    """XAUC of columns `score` and `label`.

    Pairs in one part of the labels are counted there, those in one part of the scores there, with
    the parts of their labels for labels; for all others the numbers of rows in each tell.
    """
    if not rows.spilled:
        table = rows.all()
        return exact.xauc(table["score"], table["label"])
    cuts = {name: _cuts(rows, name) for name in ("label", "score")}
    counts = {name: 2 * len(values) + 1 for name, values in cuts.items()}
    both = np.zeros((counts["label"], counts["score"]))  # rows in each pair of parts

    def labels(chunk: dict[str, Array]) -> Array:
        one, two = (_part(chunk[name], cuts[name]) for name in ("label", "score"))
        np.add.at(both, (one, two), 1)
        return _untied(one, counts["label"])

    def scores(chunk: dict[str, Array]) -> Array:
        return _untied(_part(chunk["score"], cuts["score"]), counts["score"])

    right = 0.0
    for table in rows.split(labels, counts["label"]):
        right += exact.concordant(table["score"], table["label"], _one_group(table))[0]
    for table in rows.split(scores, counts["score"]):
        parts = _part(table["label"], cuts["label"])
        right += exact.concordant(table["score"], parts, _one_group(table))[0]
    under = np.cumsum(np.cumsum(both, axis=0), axis=1)
    right += float(np.sum(both[1:, 1:] * under[:-1, :-1]))
    return float(right / (len(rows) * (len(rows) - 1) / 2))


def by_group(rows: Rows) -> Iterator[dict[str, Array]]:
    """The rows in parts that hold whole groups (column `group`, integers)."""
    if not rows.spilled:
        if len(rows):
            yield rows.all()
        return
    count = 2 * len(rows) // rows.limit + 1
    yield from rows.split(lambda chunk: np.asarray(chunk["group"] % count), count)


def _by_score(rows: Rows) -> tuple[Array, Iterator[tuple[int, dict[str, Array]]]]:
    """Positive and negative weight [2, parts] of each part of the scores, and the rows of a part.

    The weights are there once the first part has come; parts of a single score never come.
    """
    cuts = _cuts(rows, "score")
    count = 2 * len(cuts) + 1
    mass = np.zeros((2, count))

    def ranges(chunk: dict[str, Array]) -> Array:
        part = _part(chunk["score"], cuts)
        for side, values in enumerate(exact.sides(chunk["label"], chunk.get("weight"))):
            mass[side] += np.bincount(part, values, minlength=count)
        return _untied(part, count)

    tables = rows.split(ranges, count)
    return mass, ((int(_part(table["score"][:1], cuts)[0]), table) for table in tables)


def _cuts(rows: Rows, name: str) -> Array:
    """Values of a column, rising, between which about a quarter of the limit lies."""
    step = max(1, len(rows) // 100_000)
    sample = np.concatenate([chunk[name][::step] for chunk in rows.chunks()])
    count = 4 * len(rows) // rows.limit + 1
    return np.unique(np.quantile(sample, np.linspace(0, 1, count + 1), method="nearest"))


def _part(values: Array, cuts: Array) -> Array:
    """2 i + 1 where a value is cut i, 2 i where it lies below it, and above the one before."""
    place = np.searchsorted(cuts, values)
    return np.asarray(2 * place + (cuts[np.minimum(place, len(cuts) - 1)] == values))


def _untied(part: Array, count: int) -> Array:
    """The parts, but `count` for those of a single value."""
    return np.where(part % 2, count, part)


def _one_group(table: dict[str, Array]) -> Array:
    return np.zeros(len(table["score"]), dtype=np.int64)
