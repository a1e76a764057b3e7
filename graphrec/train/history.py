"""What earlier runs came to: a line for each, and the numbers of two of them side by side."""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphrec.ground.errors import CheckpointError, Problem
from graphrec.ground.text import aligned
from graphrec.train.curves import compared_curves
from graphrec.train.progress import clock, number
from graphrec.train.run import METRICS, read_info
from graphrec.views.pictures import chart_page

__all__ = [
    "PastRun",
    "compare_scores",
    "curves_picture",
    "differences",
    "past_run",
    "past_runs",
    "runs_table",
]

_LOWER = ("loss", "mse", "mae", "rmse")
_SHOWN, _WIDTH = 3, 60


@dataclass(frozen=True)
class PastRun:
    """A run folder: its name, recipe lines, data, state, and the best of every evaluated number."""

    folder: Path
    name: str
    data: str
    finished: bool
    step: int
    seconds: float
    best: Mapping[str, float]
    recipe: tuple[str, ...]

    def as_json(self, differs: Sequence[str] = ()) -> dict[str, Any]:
        return {
            "run": str(self.folder), "recipe": self.name, "data": self.data,
            "finished": self.finished, "step": self.step, "seconds": self.seconds,
            "best": dict(self.best), "differs": list(differs),
        }  # fmt: skip


def curves_picture(folders: Sequence[Path]) -> str:
    """The evaluations of runs as one SVG, a line for each run; CheckpointError (GR807)."""
    for folder in folders:
        read_info(folder)
    return chart_page(compared_curves({str(f): _records(f / METRICS) for f in folders}))


def past_runs(pattern: str) -> list[PastRun]:
    """The run folders that a glob matches, those with the best first metric first.

    Raises CheckpointError (GR807) where there is none.
    """
    folders = [Path(path) for path in glob.glob(pattern) if (Path(path) / "run.json").is_file()]
    if not folders:
        help = "`graphrec train` writes runs/<name>; another place is a glob: graphrec runs 'my/*'"
        raise CheckpointError(Problem("GR807", f"no run folder matches {pattern}", help=help))
    runs = [past_run(folder) for folder in folders]
    return sorted(runs, key=lambda run: (run.name, *_rank(run), str(run.folder)))


def past_run(folder: Path) -> PastRun:
    """One run folder; raises CheckpointError (GR807) where it is none, or a damaged one."""
    info, records = read_info(folder), _records(folder / METRICS)
    evaluated = [record for record in records if record.get("kind") == "eval"]
    keys = [k for r in evaluated[-1:] for k in r if k == "loss" or "." in k]
    best = {}
    for key in keys:
        values = [r[key] for r in evaluated if isinstance(r.get(key), int | float)]
        if values:
            best[key] = min(values) if _is_lower_better(key) else max(values)
    last = records[-1] if records else {}
    recipe = folder / "recipe.yaml"
    lines = recipe.read_text("utf-8").splitlines() if recipe.is_file() else []
    return PastRun(
        folder,
        str(info.get("name", "")),
        str(info["fingerprint"])[:8],
        bool(info["finished"]),
        int(last.get("step", 0)),
        float(last.get("seconds", 0.0)),
        best,
        tuple(line.strip() for line in lines),
    )


def runs_table(runs: Sequence[PastRun]) -> str:
    """A line for each run: what differs from the first of its recipe, data, best numbers, time."""
    rows = [["run", "recipe", "differs by", "data", "best", "steps", "time"]]
    for run, differs in zip(runs, differences(runs), strict=True):
        shown = [key for key in run.best if key.endswith(".auc")] or ["loss"]
        best = "  ".join(f"{key} {number(run.best.get(key))}" for key in shown[:_SHOWN])
        took = clock(run.seconds) + ("" if run.finished else " (unfinished)")
        rows.append(
            [str(run.folder), run.name, _cut(differs), run.data, best, f"{run.step:,}", took]
        )
    return aligned(rows, right=frozenset({5}))


def differences(runs: Sequence[PastRun]) -> list[list[str]]:
    """The lines of each run's recipe that the first run of that recipe does not have."""
    first: dict[str, PastRun] = {}
    own_lines = []
    for run in runs:
        other = first.setdefault(run.name, run)
        own_lines.append([line for line in run.recipe if line not in other.recipe])
    return own_lines


def compare_scores(one: PastRun, two: PastRun) -> str:
    """The best numbers of two runs side by side, with their difference."""
    rows = [["best of", str(one.folder), str(two.folder), "difference"]]
    for key in dict.fromkeys([*one.best, *two.best]):
        pair = one.best.get(key), two.best.get(key)
        both = None if pair[0] is None or pair[1] is None else pair[1] - pair[0]
        rows.append([key, *map(number, pair), f"{both:+.4f}" if both is not None else "-"])
    return aligned(rows, right=frozenset({1, 2, 3}))


def _records(path: Path) -> list[dict[str, Any]]:
    records = []
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:  # cut short
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def _is_lower_better(key: str) -> bool:
    return key.removesuffix(".inside").rpartition(".")[2].startswith((*_LOWER, "logloss"))


def _rank(run: PastRun) -> tuple[float, float]:
    aucs = [value for key, value in run.best.items() if key.endswith(".auc")]
    return (-sum(aucs) / len(aucs) if aucs else 0.0, run.best.get("loss", 0.0))


def _cut(lines: Sequence[str]) -> str:
    text = "; ".join(lines)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."
