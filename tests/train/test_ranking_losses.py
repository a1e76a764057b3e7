"""Losses of pairs, lists and values: values by plain loops, weights, spaces, memory of nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import graphrec
from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.nn.batch import Batch
from graphrec.train.losses import compute

ROWS = 40
DRAW = np.random.default_rng(5)
SESSION = DRAW.integers(0, 7, ROWS)
CLICK = torch.from_numpy((DRAW.random(ROWS) < 0.4).astype(np.float32))
VALUE = torch.from_numpy((DRAW.random(ROWS) * 5).astype(np.float32)) * CLICK
WEIGHT = torch.from_numpy(DRAW.random(ROWS).astype(np.float32) + 0.25)
INSIDE = DRAW.integers(0, 2, ROWS).astype(np.float32)
LOGITS = torch.from_numpy(DRAW.normal(size=ROWS).astype(np.float32)).double()


def total(recipe_of: Callable, task: dict, key: str, output: Tensor, label: Tensor) -> float:
    columns = {"session": SESSION, "inside": INSIDE}
    batch = Batch({}, {"t": label}, {"t": WEIGHT}, columns)
    return float(compute(recipe_of({"t": task}), {key: output}, batch).total)


def pairs(label: Tensor, weight: np.ndarray, margin: float = 0.0) -> float:
    """The mean over pairs, one by one."""
    above = below = 0.0
    for i, j in itertools.permutations(range(ROWS), 2):
        if SESSION[i] == SESSION[j] and label[i] > label[j]:
            mass = float(weight[i] * weight[j])
            gap = margin - float(LOGITS[i] - LOGITS[j])
            above, below = above + mass * math.log1p(math.exp(gap)), below + mass
    return above / below


def lists(label: Tensor, weight: np.ndarray, temperature: float = 1.0) -> float:
    """The mean over lists, one by one."""
    above = below = 0.0
    for session in set(SESSION):
        at = [i for i in range(ROWS) if SESSION[i] == session and weight[i] > 0]
        wanted = sum(float(label[i]) for i in at)
        if not wanted:
            continue
        scores = torch.log_softmax(LOGITS[at] / temperature, 0)
        for i, score in zip(at, scores, strict=True):
            share = float(label[i]) / wanted * float(weight[i])
            above, below = above - share * float(score), below + share
    return above / below


ONES = np.ones(ROWS)


@pytest.mark.parametrize(
    ("more", "weight"),
    [
        ({}, ONES),
        ({"sample_weight": "w"}, WEIGHT.numpy()),
        ({"space": {"label": "inside"}}, INSIDE),
    ],
)
def test_pairs_and_lists_equal_loops(recipe_of: Callable, more: dict, weight: np.ndarray) -> None:
    if not more:
        more = {"sample_weight": None}
    batch_weight = more.get("sample_weight") is not None
    given = {k: v for k, v in more.items() if v is not None}

    def value(loss: str, label: Tensor, **settings: float) -> float:
        kind = "binary" if label is CLICK else "regression"
        task = {"loss": {loss: {"session": "session", **settings}}, "kind": kind, **given}
        key = "logits" if kind == "binary" else "y"
        return total(recipe_of, task, key, LOGITS, label)

    assert batch_weight == ("sample_weight" in given)
    assert value("pairwise", CLICK) == pytest.approx(pairs(CLICK, weight), rel=1e-5)
    assert value("pairwise", VALUE, margin=0.5) == pytest.approx(
        pairs(VALUE, weight, 0.5), rel=1e-5
    )
    assert value("listwise", CLICK) == pytest.approx(lists(CLICK, weight), rel=1e-5)
    assert value("listwise", VALUE, temperature=2.0) == pytest.approx(
        lists(VALUE, weight, 2.0), rel=1e-5
    )


def test_hinge_and_huber(recipe_of: Callable) -> None:
    found = total(recipe_of, {"loss": {"hinge": {"margin": 0.5}}}, "logits", LOGITS, CLICK)
    sides = torch.where(CLICK > 0, LOGITS, -LOGITS)
    assert found == pytest.approx(float((0.5 - sides).clamp(min=0).mean()))
    task = {"loss": {"huber": {"delta": 0.3}}, "kind": "regression"}
    gap = (LOGITS - VALUE).abs()
    right = torch.where(gap <= 0.3, gap * gap / 2, 0.3 * (gap - 0.15)).mean()
    assert total(recipe_of, task, "y", LOGITS, VALUE) == pytest.approx(float(right))


def test_ziln_is_the_likelihood_of_torchs_distribution(recipe_of: Callable) -> None:
    head = torch.from_numpy(DRAW.normal(size=(ROWS, 3)))
    task = {"loss": {"ziln": {}}, "kind": "regression"}
    paid = VALUE > 0
    deviation = torch.nn.functional.softplus(head[:, 2])
    normal = torch.distributions.LogNormal(head[:, 1], deviation)
    chance = torch.sigmoid(head[:, 0])
    likelihood = torch.where(
        paid, chance.log() + normal.log_prob(VALUE.double().clamp(min=1e-9)), (1 - chance).log()
    )
    found = total(recipe_of, task, "logits", head, VALUE)
    assert found == pytest.approx(-float(likelihood.mean()), rel=1e-6)


TEXT = """\
graphrec: 1
name: worth
data: {synthetic: 400}
features: [{type: id, names: {user: 10, item: 20}, dim: 4}]
graph: {deep: {block: mlp, in: all, hidden: [8]}}
tasks:
  value: {label: paid, in: deep, kind: regression, loss: ziln, metrics: [mae, xauc]}
  click: {label: click, in: deep, loss: {bce: {}, pairwise: {session: user}, listwise: {session: user}}}
train: {batch: 64, epochs: 1, seed: 3}
"""


def test_a_task_of_values_trains_and_predicts_its_mean(
    write_recipe: Callable[[str], Path], tmp_path: Path
) -> None:
    path = write_recipe(TEXT)
    module = compile_recipe(path).module()
    batch = Batch({"user": torch.tensor([1, 2]), "item": torch.tensor([3, 4])}, {})
    predicted = module(batch)
    head = predicted["logits_value"]
    assert head.shape == (2, 3)
    deviation = torch.nn.functional.softplus(head[:, 2])
    mean = torch.distributions.LogNormal(head[:, 1], deviation).mean
    torch.testing.assert_close(predicted["y_value"], torch.sigmoid(head[:, 0]) * mean)
    record = graphrec.train(str(path), run_dir=str(tmp_path / "run"), quiet=True).evaluate()
    assert all(math.isfinite(record[k]) for k in ("value.mae", "click.pairwise", "click.listwise"))


def test_a_head_has_one_meaning(write_recipe: Callable[[str], Path]) -> None:
    text = TEXT.replace("loss: ziln", "loss: {ziln: {}, l2: {}}")
    (problem,) = check_recipe(write_recipe(text)).problems
    assert problem.code == "GR232" and "three numbers of the head, l2 one" in problem.message
