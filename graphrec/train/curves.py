"""The lines of metrics.jsonl as curves: of one run, or of several in one picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphrec.views.pictures import Lines

__all__ = ["compared_curves", "run_curves"]

_FEW = 2
"""Points below which a curve shows nothing."""

Records = Sequence[Mapping[str, Any]]


def run_curves(records: Records) -> Iterator[Lines]:
    """The loss, then each task's AUC, and the learning rate, along the updates of one run."""
    kinds = {"train": "training", "eval": "evaluation"}
    for name in [*_names(records), "lr"]:
        series = {told: _points(records, kind, name) for kind, told in kinds.items()}
        yield from _drawn("learning rate" if name == "lr" else name, series)


def compared_curves(runs: Mapping[str, Records]) -> list[Lines]:
    """What was evaluated, a chart for each number with a line for each run, by its name.

    Along the rows trained: updates of unequal batches say nothing beside one another.
    """
    names = dict.fromkeys(name for records in runs.values() for name in _names(records))
    return [
        chart
        for name in names
        for chart in _drawn(name, {run: _by_rows(r, name) for run, r in runs.items()}, "rows")
    ]


def _by_rows(records: Records, name: str) -> list[tuple[float, float]]:
    """Evaluations say their update: rows are that many times the rows of an update."""
    trained = [r for r in records if r.get("kind") == "train" and r.get("step")]
    each = trained[-1]["rows"] / trained[-1]["step"] if trained else 1.0
    return [(step * each, value) for step, value in _points(records, "eval", name)]


def _drawn(
    title: str, series: Mapping[str, list[tuple[float, float]]], under: str = "update"
) -> Iterator[Lines]:
    known = {name: points for name, points in series.items() if points}
    heights = {y for points in known.values() for _, y in points}
    if max(map(len, known.values()), default=0) >= _FEW and len(heights) > 1:
        yield Lines(title, known, under)


def _names(records: Records) -> list[str]:
    names = (n for r in records for n in r if n == "loss" or n.endswith(".auc"))
    return list(dict.fromkeys(names))


def _points(records: Records, kind: str, name: str) -> list[tuple[float, float]]:
    return [
        (float(r["step"]), float(r[name]))
        for r in records
        if r.get("kind") == kind and r.get(name) is not None
    ]
