"""graphrec tune: ranges of a recipe, tried; what was tried before is kept, whatever happens."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from graphrec.cli import main
from graphrec.compiler.pipeline import check_recipe
from graphrec.ground.errors import CheckpointError, DataError, RecipeError
from graphrec.recipe.search_space import as_range
from graphrec.train.evaluate_run import evaluate
from graphrec.train.tuning import Tuned, Tuning, default_metric, tune
from graphrec.train.tuning.trial import Setting

pytest.importorskip("optuna")

RECIPE = """\
graphrec: 1
name: tried
data: {synthetic: 1500, workers: 0}
features:
  - {type: id, names: [user, item], vocab: 50, dim: 4}
graph:
  deep: {block: mlp, in: all, hidden: [8]}
tasks:
  click: {label: click, in: deep, metrics: [auc, logloss]}
train: {batch: 256}
"""
SEARCH = """\
search:
  train.lr.dense: log(1e-4, 1e-1)
  graph.deep.hidden: [[4], [16, 8]]
"""


def setting(path: Path, metric: str = "click.auc", overrides: tuple[str, ...] = ()) -> Setting:
    from graphrec.blocks.library import BUILTIN

    return Setting(str(path), overrides, BUILTIN, None, "cpu", None, (), metric)


def search(
    tmp_path: Path, text: str = RECIPE + SEARCH, trials: int = 3, metric: str = "click.auc"
) -> tuple[Tuned, list[str]]:
    path = tmp_path / "tried.yaml"
    path.write_text(text)
    said: list[str] = []
    tuned = tune(setting(path, metric), Tuning(trials, folder=tmp_path / "study"), said.append)
    return tuned, said


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tuned, list[str]]:
    folder = tmp_path_factory.mktemp("tuning")
    return folder, *search(folder)


def test_each_trial_is_told_and_kept(studied: tuple[Path, Tuned, list[str]]) -> None:
    folder, tuned, said = studied
    assert [line.split("  ")[0] for line in said] == ["as written", "trial 1", "trial 2", "trial 3"]
    assert [trial.state for trial in tuned.trials] == ["finished"] * 3
    for trial in tuned.trials:
        rate, hidden = trial.values["train.lr.dense"], trial.values["graph.deep.hidden"]
        assert 1e-4 <= rate <= 1e-1
        assert hidden in ([4], [16, 8])
        recipe = (folder / "study" / f"trial-{trial.number:04}" / "recipe.yaml").read_text()
        assert f"dense: {rate!r}" in recipe or f"dense: {rate:g}" in recipe
    written = json.loads((folder / "study" / "tuning.json").read_text())
    assert [trial["value"] for trial in written["trials"]] == [t.value for t in tuned.trials]
    assert (folder / "study" / "tuning.svg").read_text().startswith("<svg")


def test_only_the_best_keeps_its_weights_and_they_score_so(
    studied: tuple[Path, Tuned, list[str]],
) -> None:
    folder, tuned, _ = studied
    kept = [path.parent.name for path in (folder / "study").glob("*/checkpoints")]
    best = "as-written" if tuned.best is None else f"trial-{tuned.best.number:04}"
    assert kept == [best]
    value = tuned.as_written if tuned.best is None else tuned.best.value
    record = evaluate(folder / "study" / best, None, None, device="cpu")
    assert record["click.auc"] == pytest.approx(value, abs=1e-9)


def test_the_best_recipe_is_written_in_full(studied: tuple[Path, Tuned, list[str]]) -> None:
    folder, tuned, _ = studied
    reading = check_recipe(folder / "study" / "best.yaml").reading
    assert reading.recipe is not None
    if tuned.best is not None:
        assert reading.recipe.train.lr.dense == tuned.best.values["train.lr.dense"]
        hidden = reading.recipe.graph["deep"].params["hidden"]  # type: ignore[union-attr]
        assert hidden == tuned.best.values["graph.deep.hidden"]
    assert list(reading.recipe.search) == ["graph.deep.hidden", "train.lr.dense"]


def test_the_same_call_goes_on(tmp_path: Path) -> None:
    text = RECIPE + "search:\n  train.lr.dense: log(1e-4, 1e-1)\n"
    first, _ = search(tmp_path, text, trials=1)
    second, said = search(tmp_path, text, trials=2)
    assert second.trials[0] == first.trials[0]
    assert second.trials[1].values != first.trials[0].values
    assert [line.split("  ")[0] for line in said] == ["trial 2"]
    third, said = search(tmp_path, text, trials=2)
    assert said == []
    assert third == second
    with pytest.raises(CheckpointError, match="holds a study of another search"):
        search(tmp_path, RECIPE + "search:\n  train.lr.dense: log(1e-3, 1e-1)\n")


def test_values_that_can_not_be_trained_are_told_and_others_tried(tmp_path: Path) -> None:
    text = RECIPE + "search:\n  train.lr.dense: [1.0e30, 1.0e-3, 1.0e-2]\n"
    tuned, said = search(tmp_path, text, trials=6)
    failed = [trial for trial in tuned.trials if trial.state == "failed"]
    assert [trial.values["train.lr.dense"] for trial in failed] == [1e30]
    assert "GR720" in failed[0].problem
    assert any("can't be trained" in line for line in said)
    assert len(tuned.trials) == 3
    assert said[-1] == "all 3 combinations of the values are tried"


def test_a_killed_study_goes_on_without_the_trial_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "tried.yaml"
    path.write_text(RECIPE + SEARCH)
    words = [sys.executable, "-m", "graphrec", "tune", str(path), "--run", str(tmp_path / "study")]
    process = subprocess.Popen([*words, "-o", "train.epochs=100"], stderr=subprocess.DEVNULL)
    running = tmp_path / "study" / "as-written" / "metrics.jsonl"
    end = time.monotonic() + 60
    while time.monotonic() < end and not (running.is_file() and running.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert not running.parent.exists()
    again = [*words, "--trials", "1", "-o", "train.epochs=100"]
    done = subprocess.run(again, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "auc" in done.stdout


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("log(1e-4, 1e-2)", "log(0.0001, 0.01)"),
        ("uniform(0, 1)", "uniform(0, 1)"),
        ("int(1, 4)", "int(1, 4)"),
        (["a", [1, 2]], "choice(a, [1, 2])"),
    ],
)
def test_ranges(text: object, told: str) -> None:
    assert str(as_range(text)) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lag(1, 2)", "did you mean `log`?"),
        ("log(0, 1)", "expected the least above 0 first, then the largest, got `log(0, 1)`"),
        ("int(1, 2.5)", "expected two whole numbers: int(least, largest), got `int(1, 2.5)`"),
        ("uniform(2, 1)", "expected the least first, then the largest"),
        ("uniform(1)", "expected two numbers"),
        ([1], "a choice is between two values or more, got 1"),
        (3, "or a list of values, got 3"),
        ("log", "expected two numbers"),
    ],
)
def test_what_is_no_range(text: object, told: str) -> None:
    with pytest.raises(ValueError, match="expected|choice") as error:
        as_range(text)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("search_text", "told"),
    [
        ("graph.deap.hidden: [[4], [8]]", "no `deap` in graph"),
        ("trian.batch: [4, 8]", "`trian` is nothing to search in"),
        ("train: [4, 8]", "the whole of `train` can't be searched"),
        ("train.batch: log(-1, 8)", "expected the least above 0"),
    ],
)
def test_mistakes_are_told_where_they_are(tmp_path: Path, search_text: str, told: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(RECIPE + f"search:\n  {search_text}\n")
    (problem,) = check_recipe(path).errors
    assert told in problem.message
    assert problem.span is not None
    assert problem.span.line == RECIPE.count("\n") + 2


def test_every_end_is_checked_before_the_first_trial(tmp_path: Path) -> None:
    path = tmp_path / "tried.yaml"
    path.write_text(RECIPE + "search: {graph.deep.hidden: [[8], [0]]}\n")
    with pytest.raises(RecipeError, match="greater than 0|above 0"):
        tune(setting(path), Tuning(1, folder=tmp_path / "study"), print)
    assert not (tmp_path / "study").exists()


def test_what_can_not_be_tuned(tmp_path: Path) -> None:
    path = tmp_path / "tried.yaml"
    path.write_text(RECIPE)
    with pytest.raises(RecipeError, match="no `search:`"):
        tune(setting(path), Tuning(1, folder=tmp_path / "study"), print)
    path.write_text(RECIPE + SEARCH)
    with pytest.raises(RecipeError, match="no task has the metric `click.gauc`"):
        tune(setting(path, "click.gauc"), Tuning(1, folder=tmp_path / "study"), print)
    rows = tmp_path / "rows.csv"
    rows.write_text("user,item,click\n" + "1,2,0\n3,4,1\n" * 40)
    path.write_text((RECIPE + SEARCH).replace("synthetic: 1500", f"train: {rows}"))
    with pytest.raises(DataError, match="tune needs evaluation rows"):
        tune(setting(path), Tuning(1, folder=tmp_path / "study"), print)


def test_the_metric_to_go_by(tmp_path: Path) -> None:
    def metric(train: str) -> str:
        path = tmp_path / "tried.yaml"
        path.write_text(RECIPE.replace("train: {", f"train: {{{train}"))
        recipe = check_recipe(path).reading.recipe
        assert recipe is not None
        return default_metric(recipe)

    assert metric("") == "auc"
    assert metric("save: {best: click.logloss}, ") == "click.logloss"
    assert metric("early_stop: {metric: click.auc}, ") == "click.auc"


def test_lower_is_better_for_losses(tmp_path: Path) -> None:
    tuned, _ = search(tmp_path, trials=2, metric="click.logloss")
    assert not tuned.higher
    values = [trial.value for trial in tuned.trials if trial.value is not None]
    if tuned.best is not None:
        assert tuned.best.value == min(values) < tuned.as_written
    else:
        assert min(values) >= tuned.as_written


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tried.yaml"
    path.write_text(RECIPE + SEARCH)
    words = ["tune", str(path), "--run", str(tmp_path / "study"), "--trials", "1"]
    assert main([*words, "--format", "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert len(record["trials"]) == 1
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "as written" in shown
    assert f"recipe    {tmp_path / 'study' / 'best.yaml'}" in shown
    assert main([*words, "--time", "soon"]) == 2
    assert "expected a time such as 90s" in capsys.readouterr().err
