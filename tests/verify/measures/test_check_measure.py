"""Losses and metrics: the tables' own conform, plugins are read, used and checked like them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import graphrec
from graphrec.blocks.library import BUILTIN
from graphrec.cli import main
from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.recipe.loss_table import LOSSES, Loss
from graphrec.recipe.metric_table import METRICS, Metric
from graphrec.train import evaluate, train
from graphrec.verify.block.block_checks import undocumented
from graphrec.verify.measures import check_measure

DETACHED = {"focal"}
"""A factor of theirs has no gradient, on purpose."""


@pytest.mark.parametrize("name", LOSSES)
def test_losses_conform(name: str) -> None:
    report = check_measure(LOSSES[name], {}, stops_gradients=name in DETACHED)
    assert report.passed, report.as_text()
    assert check_measure(LOSSES[name], {}).passed == (name not in DETACHED)


@pytest.mark.parametrize("name", METRICS)
def test_metrics_conform(name: str) -> None:
    report = check_measure(METRICS[name], {})
    assert report.passed, report.as_text()


@pytest.mark.parametrize("term", [*LOSSES.values(), *METRICS.values()], ids=lambda t: t.name)
def test_every_term_is_documented(term: type) -> None:
    assert undocumented(term) == []


PLUGIN = '''
from typing import Annotated
from pydantic import Field
from graphrec import Loss, Metric


class Tilted(Loss):
    """Quantile loss: over and under by different weights."""

    forms = ("regression",)
    rows = "FUNCTIONS:tilted"
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The quantile that is predicted."""


class Brier(Metric):
    """Mean squared difference of probability and label."""

    forms = ("binary", "prob")
    computes = "FUNCTIONS:Brier"
    decays = True


class Wrong(Tilted):
    """Its gradient is another."""

    name = "wrong"
    rows = "FUNCTIONS:wrong"


class Placed(Tilted):
    """A row's loss depends on its place."""

    rows = "FUNCTIONS:placed"


class Lasting(Brier):
    """The last batch alone."""

    computes = "FUNCTIONS:Lasting"
'''
FUNCTIONS = """
import torch
from torchmetrics import Metric


def tilted(output, label, quantile):
    off = label - output
    return torch.maximum(quantile * off, (quantile - 1) * off)


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


def wrong(output, label, quantile):
    return tilted(Double.apply(output), label, quantile)


def placed(output, label, quantile):
    return tilted(output, label, quantile) * torch.arange(len(label)).to(output)


class Brier(Metric):
    def __init__(self):
        super().__init__()
        for name in ("total", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, preds, target, weight=None, group=None):
        self.total = self.total + ((preds.double() - target) ** 2).sum()
        self.count = self.count + len(target)

    def compute(self):
        return float(self.total / self.count) if self.count else None


class Lasting(Brier):
    def update(self, preds, target, weight=None, group=None):
        self.total, self.count = self.total * 0, self.count * 0
        super().update(preds, target)
"""
RECIPE = """
graphrec: 1
name: own
data: {synthetic: 1_000, workers: 0}
features: [{type: id, names: {user: 50, item: 30}, dim: 4}]
graph: {deep: {block: mlp, in: all, hidden: [8]}}
tasks:
  click: {label: click, in: deep, metrics: [auc, brier], train_metrics: [brier(step=2)]}
  time: {label: time, in: deep, kind: regression, loss: {tilted: {quantile: 0.7}}}
train: {batch: 100, log_every: 2, save: {best: click.brier}}
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"terms_{tmp_path.name}".replace("[", "_").replace("]", "_")
    (tmp_path / f"{name}.py").write_text(PLUGIN.replace("FUNCTIONS", f"functions_{name}"))
    (tmp_path / f"functions_{name}.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return name


class Console:
    quiet = True

    def result(self, text: str) -> None: ...

    remark = result


def test_a_plugins_loss_and_metric_train_and_evaluate(plugin: str) -> None:
    library = BUILTIN.with_plugin(plugin)
    run = train(compile_recipe(RECIPE, library=library), console=Console(), run_dir="run")
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    last = records[-1]
    assert last["kind"] == "eval" and 0 < last["click.brier"] < 0.5 and last["time.loss"] > 0
    assert [r["click.brier"] for r in records if r["kind"] == "train"][-1] > 0
    assert evaluate(run.folder, library=library)["click.brier"] == last["click.brier"]
    module = sys.modules[plugin]
    added = BUILTIN.with_measures(module.Tilted, module.Brier)
    assert not check_recipe(RECIPE, library=added).errors
    assert issubclass(module.Tilted, graphrec.Loss) and issubclass(module.Brier, graphrec.Metric)


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (("tilted: {quantile: 0.7}", "tilted: {quantile: 2}"), "GR231", "less than 1"),
        (("tilted: {quantile: 0.7}", "tilded: {}"), "GR230", "no loss `tilded`"),
        (("metrics: [auc, brier]", "metrics: [auc, brier(x=1)]"), "GR234", "has no `x`"),
        (
            ("kind: regression, loss: {tilted: {quantile: 0.7}}", "loss: tilted"),
            "GR232",
            "fits here",
        ),
    ],
)
def test_mistakes_with_measures_of_a_plugin(plugin: str, change, code: str, said: str) -> None:
    library = BUILTIN.with_plugin(plugin)
    problems = check_recipe(RECIPE.replace(*change), library=library).errors
    assert code in [p.code for p in problems]
    assert any(said in f"{p.message} {p.help}" for p in problems)


def test_without_the_plugin_its_names_are_unknown(plugin: str) -> None:
    codes = [p.code for p in check_recipe(RECIPE).errors]
    assert "GR230" in codes and "GR233" in codes


def test_a_name_that_is_taken_is_refused(plugin: str) -> None:
    class Auc(Metric):
        forms = ("binary",)
        computes = "nowhere:at_all"

    class Bce(Loss):
        forms = ("binary",)
        rows = "nowhere:at_all"

    for term, said in ((Auc, "a metric `auc`"), (Bce, "a loss `bce`")):
        with pytest.raises(ValueError, match=f"there already is {said}"):
            BUILTIN.with_measures(term)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["Tilted", "--param", "quantile=0.3"], 0, "6 passed"),
        (["Brier"], 0, "4 passed"),
        (["Wrong"], 2, "not that of finite differences"),
        (["Placed"], 2, "the loss of a row depends on its place"),
        (["Lasting"], 2, "batches of 1 rows give"),
        (["Tilted", "--param", "quantil=1"], 2, "did you mean `quantile`"),
    ],
)
def test_check_block_takes_them(plugin: str, words, status: int, said: str, capsys) -> None:
    assert main(["check-block", f"{plugin}:{words[0]}", *words[1:]]) == status
    out, err = capsys.readouterr()
    assert said in out + err
