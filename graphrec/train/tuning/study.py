"""The study: which values were tried, kept by Optuna in a SQLite file, and which to try next."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphrec.ground.errors import (
    CheckpointError,
    DataError,
    EnvironmentFault,
    Problem,
    RecipeError,
)
from graphrec.recipe.calls import Call
from graphrec.recipe.yaml_text import flow
from graphrec.train.progress import clock, number
from graphrec.train.tuning.checks import check_search, identity
from graphrec.train.tuning.trial import Outcome, Setting, overrides_of, run_trial
from graphrec.train.tuning.tuned import Tuned, tried, write_results

if TYPE_CHECKING:
    import optuna

__all__ = ["Tuning", "tune"]

_AS_WRITTEN = "as_written"
_WITHOUT_PRUNING = 4
"""Trials before any is given up: a median of fewer says little."""
_NOT_FINITE = "GR720"
_DIGITS = 3
"""Significant digits of a number tried: more would only make recipes hard to read."""


@dataclass(frozen=True)
class Tuning:
    """How long to search: `trials` in all, with earlier calls; none begins after `seconds`."""

    trials: int
    seconds: float | None = None
    folder: Path | None = None


def tune(setting: Setting, tuning: Tuning, say: Callable[[str], None]) -> Tuned:
    """Search the ranges of the recipe's `search:`; the same call goes on with an earlier study.

    The recipe as it is written is tried first. Raises RecipeError, DataError, CheckpointError (the
    folder holds another study) or EnvironmentFault (Optuna is not installed).
    """
    compiled = setting.compiled({})
    recipe = compiled.recipe
    higher = check_search(setting, recipe)
    folder = tuning.folder or Path("runs") / f"{recipe.name}-tune"
    deadline = None if tuning.seconds is None else time.monotonic() + tuning.seconds
    study = _open(folder, identity(setting, compiled), higher, recipe.train.seed)
    search = _Search(study, setting, folder, recipe.search, say)
    search.as_written()
    while _ended(study) < tuning.trials and not _is_over(deadline):
        if search.is_exhausted():
            say(f"all {_ended(study)} combinations of the values are tried")
            break
        search.next()
    tuned = tried(study, recipe, setting.metric, higher, folder)
    write_results(tuned, setting)
    return tuned


class _Search:
    """Trials of one study, one after the other."""

    def __init__(
        self,
        study: optuna.Study,
        setting: Setting,
        folder: Path,
        ranges: Mapping[str, Call],
        say: Callable[[str], None],
    ) -> None:
        self.study, self.setting, self.folder = study, setting, folder
        self.ranges, self.say = ranges, say

    def as_written(self) -> None:
        """The recipe's own values, against which all others are held."""
        if _AS_WRITTEN in self.study.user_attrs:
            return
        outcome = run_trial(self.setting, {}, self.folder / "as-written", lambda *_: False)
        if outcome.value is None:
            what = f"{self.setting.metric} is not available on the evaluation rows"
            help = "another --metric, or evaluation rows with labels of both kinds"
            raise DataError(Problem("GR721", what, help=help))
        self.study.set_user_attr(_AS_WRITTEN, outcome.value)
        self._tell("as written", outcome, {})

    def is_exhausted(self) -> bool:
        """Whether every combination was tried; there is no end of those with a range of reals."""
        if not all(call.name in ("choice", "int") for call in self.ranges.values()):
            return False
        sizes = (
            call.args[1] - call.args[0] + 1 if call.name == "int" else len(call.args)
            for call in self.ranges.values()
        )
        return len(self._known()) >= math.prod(sizes)

    def _known(self) -> dict[str, optuna.trial.FrozenTrial]:
        """The trials that came to an end, by their values."""
        trials = self.study.get_trials(deepcopy=False)
        return {t.user_attrs["values"]: t for t in trials if _has_ended(t)}

    def next(self) -> None:
        """One more trial, of the values that look best by those before."""
        from optuna.trial import TrialState

        trial = self.study.ask()
        values = {path: _suggest(trial, path, call) for path, call in self.ranges.items()}
        text = json.dumps(values)
        known = self._known().get(text)
        if known is not None:  # trained again they would score the same
            state = TrialState.FAIL if known.value is None else TrialState.COMPLETE
            self.study.tell(trial, known.value, state=state)
            return
        trial.set_user_attr("values", text)
        folder = self.folder / f"trial-{trial.number + 1:04}"
        try:
            outcome = run_trial(self.setting, values, folder, _pruned(trial))
        except BaseException as error:
            problem = _fault_of_values(error)
            if problem is None:
                self.study.tell(trial, state=TrialState.FAIL)
                raise
            self._fail(trial, values, problem)
        else:
            self._keep(trial, values, outcome, folder)

    def _fail(self, trial: optuna.Trial, values: Mapping[str, Any], problem: Problem) -> None:
        from optuna.trial import TrialState

        trial.set_user_attr("problem", f"{problem.code} {problem.message}")
        self.study.tell(trial, state=TrialState.FAIL)
        overrides = " ".join(overrides_of(values))
        self.say(
            f"trial {trial.number + 1}  can't be trained  {overrides}  {problem.message[:200]}"
        )

    def _keep(
        self, trial: optuna.Trial, values: Mapping[str, Any], outcome: Outcome, folder: Path
    ) -> None:
        from optuna.trial import TrialState

        trial.set_user_attr("seconds", outcome.seconds)
        trial.set_user_attr("best", outcome.value)
        state = TrialState.PRUNED if outcome.pruned else TrialState.COMPLETE
        if outcome.value is None:
            trial.set_user_attr("problem", f"{self.setting.metric} is not available")
            state = TrialState.FAIL
        self.study.tell(trial, outcome.value if state == TrialState.COMPLETE else None, state=state)
        best = self._best()
        for path in self.folder.glob("*/checkpoints"):
            if path.parent != best:
                shutil.rmtree(path)
        mark = "  best so far" if best == folder else ""
        self._tell(f"trial {trial.number + 1}", outcome, values, mark)

    def _best(self) -> Path:
        """The folder of the best trial so far."""
        written = self.study.user_attrs[_AS_WRITTEN]
        done = [t for t in self.study.get_trials(deepcopy=False) if t.value is not None]
        if done:
            best = self.study.best_trial
            higher = self.study.direction.name == "MAXIMIZE"
            if best.value is not None and (best.value > written) == higher:
                return self.folder / f"trial-{best.number + 1:04}"
        return self.folder / "as-written"

    def _tell(self, name: str, outcome: Outcome, values: Mapping[str, Any], mark: str = "") -> None:
        state = "given up" if outcome.pruned else clock(outcome.seconds)
        overrides = "  ".join(overrides_of(values))
        score = f"{self.setting.metric} {number(outcome.value)}"
        self.say(f"{name:<10}  {score}  {state}  {overrides}{mark}")


def _open(folder: Path, known_by: Mapping[str, str], higher: bool, seed: int) -> optuna.Study:
    """The study in this folder, or a new one."""
    try:
        import optuna
    except ImportError:
        help = "pip install 'graphrec[tune]'"
        raise EnvironmentFault(Problem("GR821", "Optuna is not installed", help=help)) from None
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{folder.resolve()}/study.db",
        study_name="graphrec",
        direction="maximize" if higher else "minimize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_WITHOUT_PRUNING),
        load_if_exists=True,
    )
    # As many as were tried before: a sampler of the same seed would suggest their values again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    known = study.user_attrs.get("identity")
    if known not in (None, dict(known_by)):
        other = next(key for key, value in known_by.items() if known.get(key) != value)
        what = f"{folder} holds a study of another {other}"
        raise CheckpointError(Problem("GR807", what, help="give another folder: --run DIR"))
    study.set_user_attr("identity", dict(known_by))
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)  # it was killed
        shutil.rmtree(folder / f"trial-{trial.number + 1:04}", ignore_errors=True)
    return study


def _suggest(trial: optuna.Trial, path: str, call: Call) -> Any:
    if call.name == "choice":
        texts = [flow(value) for value in call.args]  # Optuna keeps no lists
        return call.args[texts.index(trial.suggest_categorical(path, texts))]
    least, largest = call.args
    if call.name == "int":
        return trial.suggest_int(path, least, largest)
    value = trial.suggest_float(path, float(least), float(largest), log=call.name == "log")
    return min(max(float(f"{value:.{_DIGITS}g}"), least), largest)


def _pruned(trial: optuna.Trial) -> Callable[[int, float], bool]:
    def ask(evaluation: int, value: float) -> bool:
        trial.report(value, evaluation)
        return trial.should_prune()

    return ask


def _fault_of_values(error: BaseException) -> Problem | None:
    """What is wrong with the values tried, unless something else is: another trial may be fine."""
    if isinstance(error, RecipeError):
        return error.problems[0]
    if isinstance(error, DataError) and error.problems[0].code == _NOT_FINITE:
        return error.problems[0]
    return None


def _ended(study: optuna.Study) -> int:
    """How many trials came to an end of their own: those interrupted or killed do not count."""
    return sum(map(_has_ended, study.get_trials(deepcopy=False)))


def _has_ended(trial: optuna.trial.FrozenTrial) -> bool:
    return "best" in trial.user_attrs or "problem" in trial.user_attrs


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline
