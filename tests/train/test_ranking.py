"""Metrics of order count pairs of logits: equal to a float64 count, wherever a row stands."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graphrec.compiler.pipeline import compile_recipe
from graphrec.ground.errors import RecipeError
from graphrec.nn import functions
from graphrec.nn.batch import Batch
from graphrec.recipe.calls import parse_call
from graphrec.recipe.expressions import parse_expression
from graphrec.recipe.model import Recipe
from graphrec.train.decayed import make_decayed
from graphrec.train.evaluation import Evaluator, LabelledRows
from graphrec.train.losses import TaskLosses
from graphrec.train.metrics import make_metric
from graphrec.train.ranking import Event, evaluate, ranking_scores

ROWS = 500


def counted_auc(score: np.ndarray, positive: np.ndarray) -> float | None:
    """Pairs in the right order, ties half, one by one in float64."""
    ups, downs = score[positive].astype(np.float64), score[~positive].astype(np.float64)
    if not len(ups) or not len(downs):
        return None
    return float(np.mean((ups[:, None] > downs) + 0.5 * (ups[:, None] == downs)))


def counted_xauc(score: np.ndarray, target: np.ndarray) -> float:
    right = np.sign(score[:, None] - score) * np.sign(target[:, None] - target) > 0
    return float(right.sum() / (len(score) * (len(score) - 1)))


def saturated(draw: np.random.Generator, *shape: int) -> np.ndarray:
    """Logits that repeat, and of which float32 probabilities can't tell most apart."""
    return (draw.integers(-640, 1280, (ROWS, *shape)) / 16).astype(np.float32)


def evaluated(
    recipe: Recipe, rows: dict[str, np.ndarray], label: dict[str, np.ndarray], size: int, **columns
) -> dict[str, float | None]:
    """The record of an evaluation of these predictions in batches of `size`."""

    def batches() -> Iterator[Batch]:
        for start in range(0, ROWS, size):
            part = slice(start, start + size)
            yield Batch(
                {k: torch.from_numpy(v[part]) for k, v in rows.items()},
                {k: torch.from_numpy(v[part]) for k, v in label.items()},
                {},
                {k: v[part] for k, v in columns.items()},
            )

    def forward(batch: Batch) -> dict[str, Tensor]:
        return dict(batch.features)

    found = Evaluator(recipe, torch.device("cpu")).run(nn.Identity(), forward, batches())
    assert found is not None
    return found


@pytest.mark.parametrize("size", [1, 7, 64, ROWS])
@pytest.mark.parametrize("order", ["as drawn", "reversed"])
def test_order_of_logits_not_of_probabilities(recipe_of, size, order):
    draw = np.random.default_rng(4)
    logits = saturated(draw)
    label = (draw.random(ROWS) < 0.4).astype(np.float32)
    group, target = draw.integers(0, 30, ROWS), draw.integers(0, 2, ROWS).astype(np.float32)
    turn = slice(None, None, -1 if order == "reversed" else 1)
    logits, label, group, target = (x[turn].copy() for x in (logits, label, group, target))
    metrics = ["auc", "gauc(g)", "xauc", "gxauc(g)"]
    space = {"label": "inside", "inside": 1.0, "outside": 0.0}
    recipe = recipe_of({"t": {"metrics": metrics, "space": space}})
    sigmoid = torch.sigmoid(torch.from_numpy(logits)).numpy()
    found = evaluated(
        recipe, {"logits": logits, "probs": sigmoid}, {"t": label}, size, g=group, inside=target
    )
    positive, within = label > 0, target > 0
    assert found["t.auc"] == pytest.approx(counted_auc(logits, positive), abs=1e-12)
    assert found["t.auc.inside"] == pytest.approx(
        counted_auc(logits[within], positive[within]), abs=1e-12
    )
    members = [group == g for g in np.unique(group)]
    each = [counted_auc(logits[m], positive[m]) for m in members]
    assert found["t.gauc(g)"] == pytest.approx(
        np.mean([v for v in each if v is not None]), abs=1e-12
    )
    assert found["t.xauc"] == pytest.approx(counted_xauc(logits, label), abs=1e-12)
    assert counted_auc(sigmoid, positive) != pytest.approx(found["t.auc"], abs=1e-4)


@pytest.mark.parametrize("classes", [2, 4])
def test_classes_are_ranked_by_their_log_odds(recipe_of, classes):
    draw = np.random.default_rng(5)
    logits = saturated(draw, classes)
    label = draw.integers(0, classes, ROWS)
    names = ["multiclass_auc"] + ["auc"] * (classes == 2)
    task = {
        "loss": {"softmax": {}},
        "kind": "multiclass",
        "classes": classes,
        "metrics": names,
    }
    exact = logits.astype(np.float64)
    odds = []
    for c in range(classes):
        others = np.delete(exact, c, axis=1)
        top = others.max(1)
        odds.append(exact[:, c] - top - np.log(np.exp(others - top[:, None]).sum(1)))
    values = [counted_auc(odds[c], label == c) for c in range(classes)]
    probs = torch.softmax(torch.from_numpy(logits), 1)
    rows = {"logits": logits, "probs": probs.numpy()}
    rows |= {"probs1": probs[:, 1].numpy()} if classes == 2 else {}
    found = evaluated(recipe_of({"t": task}), rows, {"t": label}, 33)
    assert found["t.multiclass_auc"] == pytest.approx(np.mean(values), abs=1e-12)
    if classes == 2:
        assert found["t.auc"] == pytest.approx(counted_auc(exact[:, 1] - exact[:, 0], label == 1))


def _logs(logit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return -np.logaddexp(0, -logit), -np.logaddexp(0, logit)


def test_log_odds_of_products_against_many_digits():
    from fractions import Fraction

    draw = np.random.default_rng(6)
    one, two = draw.normal(0, 8, 200), draw.normal(0, 8, 200)
    product = Event(*_logs(one)).joined(Event(*_logs(two)))
    for i in range(200):  # e^x as it is in float64, everything else exactly
        p, q = (1 / (1 + Fraction(float(np.exp(-x)))) for x in (one[i], two[i]))
        exact = float(p * q / (1 - p * q))
        assert np.exp(product.log_odds[i]) == pytest.approx(exact, rel=1e-12)
        assert np.exp(product.negated().no[i]) == pytest.approx(float(p * q), rel=1e-12)


@pytest.mark.parametrize("size", [3, ROWS])
@pytest.mark.parametrize("via", ["prob", "product"])
def test_products_are_ranked_by_their_logits(recipe_of, via, size):
    """Clicks that are all but sure: the order is that of the conversion's logits."""
    draw = np.random.default_rng(7)
    click, buy = saturated(draw) / 8 + 25, saturated(draw) / 4 + 20
    label = (draw.random(ROWS) < 0.5).astype(np.float32)
    metrics = ["auc"]
    if via == "prob":
        tasks = {
            "ctr": {},
            "cvr": {"loss": {}, "label": None},
            "ctcvr": {"in": None, "prob": "ctr.prob * cvr.prob", "metrics": metrics},
        }
        recipe, key, name = recipe_of(tasks), "logits_cvr", "ctcvr"
    else:
        tasks = {"ctr": {}, "cvr": {"metrics": metrics}}
        edge = {"parents": ["ctr"], "child": "cvr", "via": "product"}
        recipe, key, name = recipe_of(tasks, relations=[edge]), "head.cvr", "cvr"
    own = buy[:, None] if via == "product" else buy
    p = torch.sigmoid(torch.from_numpy(click)) * torch.sigmoid(torch.from_numpy(buy))
    rows = {"logits_ctr": click, "probs_ctr": p.numpy(), key: own, f"probs_{name}": p.numpy()}
    labels = {"ctr": label, name: label}
    # 1 - p q ~ e^-click + e^-buy where both are sure: a count that no rounding disturbs.
    score = -np.logaddexp(-click.astype(np.float64), -buy.astype(np.float64))
    found = evaluated(recipe, rows, labels, size)[f"{name}.auc"]
    assert found == pytest.approx(counted_auc(np.round(score, 9), label > 0), abs=1e-4)
    assert counted_auc(p.numpy(), label > 0) != pytest.approx(found, abs=1e-3)


@pytest.mark.parametrize(
    "text",
    [
        "a.prob * b.prob",
        "1 - (1 - a.prob) * (1 - b.prob)",
        "a.prob / (a.prob + b.prob)",
        "0.3 * a.prob + 0.7 * detach(b.prob)",
        "clip(a.prob - b.prob, 0.1, 0.9)",
        "where(a.prob > b.prob, a.prob, 1 - b.prob)",
        "mean(concat(a.prob, b.prob, sigmoid(a.prob), tanh(b.prob)))",
        "sum(softmax(concat(a.prob, b.prob)) * concat(a.prob, b.prob))",
        "dot(concat(a.prob, b.prob), concat(b.prob, 1 - a.prob)) / 2",
        "max(concat(a.prob, relu(-b.prob)))",
        "slice(concat(a.prob, log1p(b.prob)), 1, 2)",
        "mean(reshape(concat(a.prob, b.prob), [2]))",
        "0.5 + cos(concat(a.prob, b.prob), concat(b.prob, a.prob)) / 3",
    ],
)
def test_expressions_are_those_of_the_model(text):
    draw = torch.Generator().manual_seed(8)
    logits = {name: torch.randn(40, 1, generator=draw, dtype=torch.float64) for name in "ab"}
    tree = parse_expression(text).tree
    scope = {n: getattr(functions, n) for n in functions.__all__}
    names = {"a": _Prob(logits["a"]), "b": _Prob(logits["b"])}
    expected = eval(text, scope, names)  # noqa: S307
    found = evaluate(tree, lambda ref: Event(*_logs(logits[ref[0]].numpy())))
    value = found.probability if isinstance(found, Event) else found
    np.testing.assert_allclose(value, expected.numpy(), rtol=1e-12, atol=1e-15)


class _Prob:
    def __init__(self, logit: Tensor) -> None:
        self.prob = torch.sigmoid(logit)


def test_equal_rows_are_tied_wherever_they_stand(recipe_of):
    recipe = recipe_of(
        {"ctr": {}, "cvr": {}, "both": {"in": None, "prob": "ctr.prob * tanh(cvr.prob)"}}
    )
    for size in range(1, 70):
        rows = {"logits_ctr": torch.full((size,), 0.3), "logits_cvr": torch.full((size,), -1.7)}
        assert len(np.unique(ranking_scores(recipe, "both", rows))) == 1


@pytest.mark.parametrize("text", ["auc(bins=200)", "auc(bins=2)"])
def test_bins_tell_saturated_scores_apart(text):
    draw = np.random.default_rng(9)
    label = torch.from_numpy((draw.random(2000) < 0.5).astype(np.float32))
    logits = torch.from_numpy(draw.normal(25, 6, 2000).astype(np.float32)) + 4 * label
    metric, shown = (
        make_metric(parse_call(text), logits=True),
        make_decayed(parse_call("auc(step=1)"), logits=True),
    )
    metric.update(logits, label)
    shown.update(logits, label)
    expected = counted_auc(logits.numpy(), label.numpy() > 0)
    assert metric.compute() == pytest.approx(expected, abs=2e-3)
    assert shown.value == pytest.approx(expected, abs=2e-3)


def test_bins_of_logits_are_those_of_probabilities_inside():
    draw = torch.Generator().manual_seed(1)
    logits = torch.randn(3000, generator=draw)
    label = (torch.rand(3000, generator=draw) < torch.sigmoid(logits)).float()
    of_logits, of_probs = (make_metric(parse_call("auc(bins=50)"), logits=b) for b in (True, False))
    of_logits.update(logits, label)
    of_probs.update(torch.sigmoid(logits), label)
    assert of_logits.compute() == pytest.approx(of_probs.compute(), abs=1e-4)


def test_counts_of_a_former_checkpoint_go_on():
    draw = torch.Generator().manual_seed(2)
    logits = torch.randn(400, generator=draw)
    label = (torch.rand(400, generator=draw) < torch.sigmoid(logits)).float()
    former, now = (make_decayed(parse_call("auc(step=1)"), logits=b) for b in (False, True))
    former.update(torch.sigmoid(logits), label)
    now.load(former.state())
    assert now.value == pytest.approx(former.value, abs=1e-12)
    now.update(logits, label)
    former.update(torch.sigmoid(logits), label)
    assert now.value == pytest.approx(former.value, abs=1e-3)


def test_importance_reads_logits_too(recipe_of):
    recipe = recipe_of({"t": {}})
    logits = torch.tensor([20.0, 30.0, 40.0])
    rows = LabelledRows(
        recipe,
        "t",
        {"logits": logits, "probs": torch.sigmoid(logits)},
        Batch({}, {"t": torch.ones(3)}, {}, {}),
    )
    assert rows.read_by(parse_call("auc")).tolist() == logits.tolist()
    assert rows.read_by(parse_call("logloss")).tolist() == [1.0, 1.0, 1.0]


PRODUCT = """
graphrec: 1
name: product
features: [{type: id, names: {user: 50, item: 30}, dim: 4}]
graph: {top: {block: mlp, in: all, hidden: [8]}, low: {block: mlp, in: all, hidden: [8]}}
tasks: {ctr: {label: click, in: top}, cvr: {label: buy, in: low}}
relations: [ctr -> cvr: {via: product}]
"""


def test_a_product_relation_trains_and_is_ranked_by_both_factors(tmp_path):
    (tmp_path / "product.yaml").write_text(PRODUCT)
    compiled = compile_recipe(tmp_path / "product.yaml")
    module = compiled.module({})
    draw = torch.Generator().manual_seed(0)
    ids = {n: torch.randint(0, 30, (64,), generator=draw) for n in ("user", "item")}
    label = torch.randint(0, 2, (64,), generator=draw).float()
    batch = Batch(ids, {"ctr": label, "cvr": label}, {}, {})
    predictions = module(batch)
    losses = TaskLosses(compiled.recipe)(predictions, batch)
    losses.total.backward()
    assert set(losses.parts) == {"bce_ctr", "bce_cvr"}
    p = predictions["probs_cvr"].detach().double()
    odds = ranking_scores(compiled.recipe, "cvr", predictions)
    np.testing.assert_allclose(odds, torch.logit(p).numpy(), rtol=1e-4, atol=1e-5)


def test_the_child_of_a_product_has_no_loss_on_logits(tmp_path):
    (tmp_path / "product.yaml").write_text(PRODUCT.replace("in: low}", "in: low, loss: focal}"))
    with pytest.raises(RecipeError, match="focal does not fit the child of a product"):
        compile_recipe(tmp_path / "product.yaml")
