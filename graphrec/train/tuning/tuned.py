"""What a study came to: a table, a picture of what mattered, and the best recipe in full."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphrec.ground.text import aligned, write_text
from graphrec.recipe import canonical
from graphrec.recipe.model import Recipe
from graphrec.recipe.yaml_text import flow
from graphrec.train.progress import clock, number
from graphrec.train.tuning.trial import Setting
from graphrec.views.pictures import Bars, Lines, chart_page

if TYPE_CHECKING:
    import optuna

__all__ = ["Tried", "Tuned", "tried", "write_results"]

_ENOUGH = 8
"""Finished trials below which an estimate of what mattered would be noise."""
_SHOWN = 10


@dataclass(frozen=True)
class Tried:
    """One trial: its values by path, its best evaluation, and how it ended."""

    number: int
    values: Mapping[str, Any]
    value: float | None
    state: str
    seconds: float
    problem: str = ""


@dataclass(frozen=True)
class Tuned:
    """A study: `best` is None where nothing beat the recipe as it is written.

    `importance` are the shares by which the values tried explain the best scores, by path; empty
    before there are enough trials.
    """

    folder: Path
    metric: str
    higher: bool
    as_written: float
    trials: tuple[Tried, ...]
    best: Tried | None
    importance: Mapping[str, float]
    log_paths: frozenset[str] = frozenset()
    """Paths whose range is one of magnitudes."""

    def as_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "metric": self.metric,
            "as_written": self.as_written,
            "best": None if self.best is None else asdict(self.best),
            "importance": dict(self.importance),
            "trials": [asdict(trial) for trial in self.trials],
        }

    def as_text(self) -> str:
        """The best trials, what mattered, and where the best recipe is."""
        parts = [aligned(self.table(_SHOWN), right=frozenset({1, 2}))]
        if self.importance:
            shares = ", ".join(f"{path} {share:.0%}" for path, share in self.importance.items())
            parts.append(f"what mattered: {shares}")
        if self.best is None or self.best.value is None:
            parts.append(
                f"nothing tried beats the recipe as it is written ({self.metric}"
                f" {number(self.as_written)}): it stays"
            )
        else:
            gain = self.best.value - self.as_written
            parts.append(
                f"{self.metric} {number(self.as_written)} -> {number(self.best.value)}"
                f" ({gain:+.4f}); chosen on these rows, so expect a little less on others"
            )
        parts.append(
            f"recipe    {self.folder / 'best.yaml'}\n"
            f"picture   {self.folder / 'tuning.svg'}\n"
            f"runs      graphrec runs '{self.folder}/*'"
        )
        return "\n".join(parts)

    def table(self, most: int) -> list[list[str]]:
        """The best trials, those without a score last; with the recipe as written."""
        paths = list(dict.fromkeys(path for trial in self.trials for path in trial.values))
        written = Tried(0, {}, self.as_written, "as written", 0.0)

        def rank(trial: Tried) -> tuple[bool, float]:
            value = trial.value or 0.0
            return trial.value is None or trial.state == "failed", -value if self.higher else value

        rows = [["trial", self.metric, "time", "state", *paths]]
        for trial in sorted((written, *self.trials), key=rank)[:most]:
            values = [flow(trial.values[path]) if path in trial.values else "-" for path in paths]
            name = str(trial.number) if trial.number else "-"
            took = clock(trial.seconds) if trial.seconds else "-"
            rows.append([name, number(trial.value), took, trial.state, *values])
        return rows


def tried(study: optuna.Study, recipe: Recipe, metric: str, higher: bool, folder: Path) -> Tuned:
    """A study as what it came to."""
    trials = tuple(
        _trial(trial)
        for trial in study.get_trials(deepcopy=False)
        if "best" in trial.user_attrs or "problem" in trial.user_attrs  # not those cut short
    )
    as_written = float(study.user_attrs["as_written"])
    finished = [trial for trial in trials if trial.state == "finished"]
    sign = 1 if higher else -1
    best = max(finished, key=lambda trial: sign * (trial.value or 0.0), default=None)
    if best is not None and not sign * (best.value or 0.0) > sign * as_written:
        best = None
    importance = _importance(study) if len(finished) >= _ENOUGH and len(recipe.search) > 1 else {}
    log = frozenset(path for path, call in recipe.search.items() if call.name == "log")
    return Tuned(folder, metric, higher, as_written, trials, best, importance, log)


def write_results(tuned: Tuned, setting: Setting) -> None:
    """best.yaml, tuning.json and tuning.svg in the study's folder."""
    values = {} if tuned.best is None else tuned.best.values
    write_text(tuned.folder / "best.yaml", canonical(setting.compiled(values).recipe))
    write_text(tuned.folder / "tuning.json", json.dumps(tuned.as_json(), indent=2) + "\n")
    write_text(tuned.folder / "tuning.svg", _picture(tuned))


_STATES = {"COMPLETE": "finished", "PRUNED": "given up", "FAIL": "failed"}


def _trial(trial: optuna.trial.FrozenTrial) -> Tried:
    facts = trial.user_attrs
    return Tried(
        trial.number + 1,
        json.loads(facts.get("values", "{}")),
        facts.get("best"),
        _STATES[trial.state.name],
        float(facts.get("seconds", 0.0)),
        facts.get("problem", ""),
    )


def _importance(study: optuna.Study) -> dict[str, float]:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    total = sum(shares.values()) or 1.0
    return {path: float(share / total) for path, share in shares.items()}


def _picture(tuned: Tuned) -> str:
    scored = [(float(t.number), t.value) for t in tuned.trials if t.value is not None]
    choose = max if tuned.higher else min
    course, best = [(0.0, tuned.as_written)], tuned.as_written
    for trial in tuned.trials:
        if trial.state == "finished" and trial.value is not None:
            best = choose(best, trial.value)
        course.append((float(trial.number), best))
    dots = {"trials": scored, "best so far": course}
    drawn: list[Lines | Bars] = [
        Lines(f"{tuned.metric} by trial", dots, "trial", frozenset({"trials"}))
    ]
    if tuned.importance:
        drawn.append(Bars("What mattered", tuned.importance))
    for path in _numeric(tuned):
        points = [
            (float(t.values[path]), t.value)
            for t in tuned.trials
            if t.value is not None and path in t.values
        ]
        name = tuned.metric
        log = path in tuned.log_paths
        drawn.append(Lines(path, {name: points}, path, frozenset({name}), log))
    return chart_page(drawn)


def _numeric(tuned: Tuned) -> list[str]:
    """Paths whose values are all numbers: those that can be drawn along an axis."""
    values: dict[str, list[Any]] = {}
    for trial in tuned.trials:
        for path, value in trial.values.items():
            values.setdefault(path, []).append(value)
    return [path for path, each in values.items() if all(type(v) in (int, float) for v in each)]
