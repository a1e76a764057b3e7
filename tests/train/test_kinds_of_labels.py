"""Labels as people have them: probabilities, texts of classes, numbers below or between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch

from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.ground.errors import DataError
from graphrec.recipe.calls import parse_call
from graphrec.train import train
from graphrec.train.metrics import make_metric

RECIPE = """
graphrec: 1
name: kinds
data: {train: rows.SUFFIX, eval: rows.SUFFIX, workers: 0}
features: [{type: id, names: {item: 20}, dim: 4}]
graph: {deep: {block: mlp, in: all, hidden: [8]}}
tasks: {t: {in: deep, TASK}}
train: {epochs: 2, batch: 50, lr: 5e-2}
"""
ROWS = 200


class Console:
    quiet = True

    def result(self, text: str) -> None: ...

    remark = result


def trained(folder: Path, task: str, label: Any, suffix: str = "parquet") -> dict[str, Any]:
    item = np.random.default_rng(0).integers(0, 20, ROWS)
    table = pa.table({"item": item, "y": label(item)})
    if suffix == "csv":
        pyarrow.csv.write_csv(table, folder / "rows.csv")
    else:
        pq.write_table(table, folder / "rows.parquet")
    (folder / "recipe.yaml").write_text(RECIPE.replace("SUFFIX", suffix).replace("TASK", task))
    run = train(compile_recipe(folder / "recipe.yaml"), console=Console(), run_dir=folder / "run")
    return json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-1])


SHARE = "label: {column: y, soft: true}, metrics: [auc, logloss, normalized_entropy]"


def test_probabilities_are_learned(tmp_path: Path) -> None:
    record = trained(tmp_path, SHARE, lambda item: pa.array(0.05 + item / 25))
    assert record["t.auc"] > 0.7 and 0.3 < record["t.logloss"] < 0.69
    assert record["t.normalized_entropy"] < 1


def test_a_value_that_is_no_probability_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no probability from 0 to 1"):
        trained(tmp_path, SHARE, lambda item: pa.array(item / 10))
    with pytest.raises(DataError, match="soft: true"):
        trained(tmp_path, "label: y", lambda item: pa.array(item / 40))


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_texts_of_classes(tmp_path: Path, suffix: str) -> None:
    names = np.array(["no", "maybe", "yes"])
    task = "label: y, kind: multiclass, classes: [no, maybe, yes], metrics: [accuracy, 'accuracy(top_k=2)']"
    record = trained(tmp_path, task, lambda item: pa.array(names[item % 3]), suffix)
    assert record["t.accuracy"] <= record["t.accuracy(top_k=2)"] and record["t.accuracy"] > 0.6
    stars = "label: {column: y, classes: [1, 2]}, metrics: [auc]"
    (tmp_path / "stars").mkdir()
    label = lambda item: pa.array([1 + i // 10 if k else None for k, i in enumerate(item)])  # noqa: E731
    assert trained(tmp_path / "stars", stars, label, suffix)["t.auc"] > 0.9


def test_an_unknown_class_is_told(tmp_path: Path) -> None:
    task = "label: {column: y, classes: [no, yes]}"
    with pytest.raises(DataError, match="is none of the classes no, yes"):
        trained(tmp_path, task, lambda item: pa.array(["no", "maybe"] * (ROWS // 2)))


@pytest.mark.parametrize(
    ("label", "positive"),
    [
        ("below: 5", lambda item: item < 5),
        ("above: 5", lambda item: item > 5),
        ("above: 4, below: 12", lambda item: (item > 4) & (item < 12)),
    ],
)
def test_numbers_below_and_between(tmp_path: Path, label: str, positive: Any) -> None:
    numbers = "label: {column: y, " + label + "}, metrics: [auc, logloss]"
    found = trained(tmp_path, numbers, lambda item: pa.array(item))
    (tmp_path / "plain").mkdir()
    plain = trained(
        tmp_path / "plain",
        "label: y, metrics: [auc, logloss]",
        lambda item: pa.array(positive(item).astype(int)),
    )
    assert [found[k] for k in ("t.auc", "t.logloss")] == [plain[k] for k in ("t.auc", "t.logloss")]


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("label: {column: y, below: 3}, kind: regression", "`below` makes a binary label"),
        ("label: {column: y, above: 3, below: 3}", "no value is above 3 and below 3"),
        ("label: {column: y, soft: true, above: 1}", "`soft` and `above`"),
        ("label: {column: y, classes: [a, b]}, kind: regression", "this task is a regression"),
        ("label: {column: y, classes: [a, b, c]}", "expected 2 classes, got 3"),
        ("label: y, kind: multiclass, classes: [a, a, b]", "`a` is listed twice"),
        ("label: y, metrics: ['accuracy(top_k=2)']", "top_k=2 of 2 classes is always right"),
    ],
)
def test_what_does_not_fit(task: str, said: str) -> None:
    text = RECIPE.replace("SUFFIX", "parquet").replace("TASK", task)
    messages = [problem.message for problem in check_recipe(text).errors]
    assert any(said in message for message in messages), messages


def counted(score: np.ndarray, label: np.ndarray, weight: np.ndarray) -> float:
    """Every row is y of a positive and 1 - y of a negative; ties count half."""
    ups, downs = weight * label, weight * (1 - label)
    right = (score[:, None] > score) + 0.5 * (score[:, None] == score)
    return float((ups[:, None] * downs * right).sum() / (ups.sum() * downs.sum()))


def test_the_auc_of_probabilities_is_that_of_rows_in_two_parts() -> None:
    draw = np.random.default_rng(1)
    score, label = np.round(draw.random(120), 2), draw.random(120)
    weight, group = draw.random(120), draw.integers(0, 7, 120)
    ones = np.ones(120)

    def value(text: str) -> float:
        metric = make_metric(parse_call(text))
        given = (torch.from_numpy(x) for x in (score, label, weight))
        metric.update(*given, group)
        return metric.compute()

    assert value("auc") == pytest.approx(counted(score, label, ones), abs=1e-12)
    assert value("auc(weighted=true)") == pytest.approx(counted(score, label, weight), abs=1e-12)
    members = [group == g for g in range(7)]
    each = [counted(score[m], label[m], weight[m]) for m in members]
    assert value("gauc(u, weighted=true)") == pytest.approx(np.mean(each), abs=1e-12)
    assert value("auc(bins=500)") == pytest.approx(counted(score, label, ones), abs=0.01)


def test_rows_of_weight_zero_do_not_count_in_groups() -> None:
    draw = np.random.default_rng(2)
    score, label = draw.random(300), (draw.random(300) < 0.5).astype(float)
    weight, group = draw.choice([0.0, 1.0], 300), draw.integers(0, 90, 300)
    values = []
    for g in np.unique(group):
        m = (group == g) & (weight > 0)
        if 0 < label[m].sum() < m.sum():
            values.append(counted(score[m], label[m], np.ones(m.sum())))
    metric = make_metric(parse_call("gauc(u, weighted=true)"))
    metric.update(*(torch.from_numpy(x) for x in (score, label, weight)), group)
    assert metric.compute() == pytest.approx(np.mean(values), abs=1e-12)


def test_top_k_against_sorting() -> None:
    draw = np.random.default_rng(3)
    score, label = np.round(draw.random((200, 6)), 1), draw.integers(0, 6, 200)
    for k in range(1, 6):
        first = np.argsort(-score, axis=1, kind="stable")[:, :k]
        metric = make_metric(parse_call(f"accuracy(top_k={k})"))
        metric.update(torch.from_numpy(score), torch.from_numpy(label))
        assert metric.compute() == pytest.approx((first == label[:, None]).any(1).mean())
