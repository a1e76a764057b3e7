"""Metrics: equal to scikit-learn and to counting pairs, golden values, and flat memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from graphrec.data.chunk import NULL_KEY
from graphrec.recipe.calls import parse_call
from graphrec.train import decayed, exact, spilled
from graphrec.train.decayed import make_decayed
from graphrec.train.metrics import Auc, BinnedAuc, make_metric
from graphrec.train.train_rows import Rows

PREDICTIONS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]


def value(text: str, score, label, weight=None, group=None) -> float | None:
    """The metric over these rows, handed over in uneven batches."""
    metric = make_metric(parse_call(text))
    cuts = [0, len(score) // 3, len(score) // 3 + 1, len(score)]
    for a, b in zip(cuts, cuts[1:], strict=False):
        if a < b:
            metric.update(
                torch.as_tensor(score[a:b]),
                torch.as_tensor(label[a:b]),
                None if weight is None else torch.as_tensor(weight[a:b]),
                None if group is None else np.asarray(group[a:b]),
            )
    return metric.compute()


def sets(number: int):
    for seed in range(number):
        draw = np.random.default_rng(seed)
        n = int(draw.integers(2, 80))
        score = np.round(draw.random(n), int(draw.integers(1, 8)))
        yield draw, n, score, (draw.random(n) < draw.random()).astype(np.float64)


def test_equal_to_scikit_learn(soak):
    for draw, n, score, label in sets(2000 if soak else 150):
        weight = draw.random(n)
        if 0 < label.sum() < n:
            assert value("auc", score, label) == pytest.approx(
                sk.roc_auc_score(label, score), abs=1e-12
            )
            assert value("auc(weighted=true)", score, label, weight) == pytest.approx(
                sk.roc_auc_score(label, score, sample_weight=weight), abs=1e-12
            )
        else:
            assert value("auc", score, label) is None
        assert value("logloss", score, label) == pytest.approx(
            sk.log_loss(label, score, labels=[0, 1]), abs=1e-12
        )
        assert value("logloss(weighted=true)", score, label, weight) == pytest.approx(
            sk.log_loss(label, score, labels=[0, 1], sample_weight=weight), abs=1e-12
        )
        assert value("accuracy", score, label) == pytest.approx(
            sk.accuracy_score(label, score > 0.5), abs=1e-12
        )
        target = draw.random(n)
        for name, theirs in (
            ("mae", sk.mean_absolute_error),
            ("mse", sk.mean_squared_error),
            ("rmse", sk.root_mean_squared_error),
        ):
            assert value(name, score, target) == pytest.approx(theirs(target, score), abs=1e-12)


def test_groups_and_pairs_by_counting():
    for draw, n, score, label in sets(60):
        target, group = np.round(draw.random(n), 1), draw.integers(0, 6, n)
        members = [np.flatnonzero(group == g) for g in np.unique(group)]
        within = [
            sk.roc_auc_score(label[m], score[m]) for m in members if 0 < label[m].sum() < len(m)
        ]
        sizes = [len(m) for m in members if 0 < label[m].sum() < len(m)]
        plain = value("gauc(user_id)", score, label, group=group)
        assert plain == (pytest.approx(np.mean(within), abs=1e-12) if within else None)
        if within:
            sized = value("gauc(user_id, weight=impressions)", score, label, group=group)
            assert sized == pytest.approx(np.average(within, weights=sizes), abs=1e-12)

        def share(rows, score=score, target=target):
            pairs = [(i, j) for a, i in enumerate(rows) for j in rows[a + 1 :]]
            return np.mean([(target[i] - target[j]) * (score[i] - score[j]) > 0 for i, j in pairs])

        assert value("xauc", score, target) == pytest.approx(share(np.arange(n)), abs=1e-12)
        big = [m for m in members if len(m) > 1]
        if big:
            expected = np.average([share(m) for m in big], weights=[len(m) for m in big])
            found = value("gxauc(user_id)", score, target, group=group)
            assert found == pytest.approx(expected, abs=1e-12)


def test_several_classes():
    draw = np.random.default_rng(0)
    score = draw.dirichlet(np.ones(4), 200)
    label = draw.integers(0, 4, 200)
    assert value("multiclass_auc", score, label) == pytest.approx(
        sk.roc_auc_score(label, score, multi_class="ovr"), abs=1e-12
    )
    assert value("accuracy", score, label) == pytest.approx(
        sk.accuracy_score(label, score.argmax(1))
    )
    assert value("logloss", score, label) == pytest.approx(sk.log_loss(label, score), abs=1e-12)


def test_values_of_the_specification():
    target = [0.2, 0.3, 0.5, 0.4, 0.3, 0.2, 0.8, 0.9]
    assert value("xauc", PREDICTIONS, target) == pytest.approx(0.678571, abs=1e-6)
    assert value("xauc", [0.1, 0.2, 0.3], [1.0, 1.0, 2.0]) == pytest.approx(2 / 3)
    label, group = [1.0, 0, 1, 0, 0, 0, 1, 1], [1, 2, 2, 1, 3, 3, 4, 4]
    assert value("gauc(user_id)", PREDICTIONS, label, group=group) == 0.5
    assert value("mae", [0.2, 0.3], [0.0, 1.0]) == pytest.approx(0.45)


def test_decayed_auc_of_the_specification():
    metric = make_decayed(parse_call("auc(step=1, rate=0.9, bins=10)"))
    assert metric.value is None
    first = torch.tensor([1.0, 0, 1, 0, 0, 0, 1, 1])
    for label, expected in (
        (first, 0.5625),
        (first, 0.5625),
        (torch.tensor([1.0, 0, 1, 0, 1, 0, 1, 0]), 0.54375),
    ):
        metric.update(torch.tensor(PREDICTIONS), label)
        assert metric.value == pytest.approx(expected)


def test_decayed_mae_of_the_specification():
    metric = make_decayed(parse_call("mae(step=2, rate=0.9)"))
    seen = []
    for error in (0.0, 1.0, 2.0, 3.0):
        metric.update(torch.tensor([error]), torch.tensor([0.0]))
        seen.append(metric.value)
    assert seen == [None, 0.5, 0.5, pytest.approx(0.7)]


def test_decayed_xauc_counts_the_pairs_of_its_updates_by_torch():
    """Over the rows of two updates: share of pairs with (p_i - p_j)(t_i - t_j) > 0, decayed."""
    metric = make_decayed(parse_call("xauc(step=2, rate=0.75)"))
    draw = torch.Generator().manual_seed(1)
    batches = [torch.rand(2, 9, generator=draw).mul(6).round() for _ in range(4)]
    values = []
    for one, other in (batches[:2], batches[2:]):
        preds, target = torch.cat([one, other], dim=1)
        i, j = torch.triu_indices(18, 18, offset=1)
        right = (preds[i] - preds[j]) * (target[i] - target[j]) > 0
        values.append(float(right.double().mean()))
    for number, (preds, target) in enumerate(batches):
        metric.update(preds, target)
        assert (metric.value is None) == (number == 0)
    assert metric.value == pytest.approx(0.75 * values[0] + 0.25 * values[1])
    metric.update(torch.zeros(0), torch.zeros(0))
    metric.update(torch.zeros(1), torch.zeros(1))  # one row has no pair
    assert metric.value == pytest.approx(0.75 * values[0] + 0.25 * values[1])


@pytest.mark.parametrize("text", ["auc(step=3, bins=20)", "mae(step=3)", "xauc(step=3)"])
def test_decayed_metrics_go_on_from_their_state(text):
    draw = torch.Generator().manual_seed(0)
    batches = [
        (torch.rand(20, generator=draw), torch.rand(20, generator=draw).round()) for _ in range(10)
    ]
    whole, first, second = (make_decayed(parse_call(text)) for _ in range(3))
    for batch in batches:
        whole.update(*batch)
    for batch in batches[:5]:
        first.update(*batch)
    second.load(first.state())
    for batch in batches[5:]:
        second.update(*batch)
    assert second.value == whole.value is not None


def test_sampled_pairs_are_near_all_pairs():
    draw = np.random.default_rng(1)
    score = draw.random(500)
    target = score + draw.random(500)
    exact = value("xauc", score, target)
    assert value("xauc(sample=20_000)", score, target) == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("text", ["auc", "gauc(u)", "multiclass_auc", "xauc", "gxauc(u)"])
def test_not_available_is_none(text):
    score = np.full((1, 2) if "multi" in text else 1, 0.5)
    assert value(text, score, np.ones(1, dtype=np.int64), group=[3]) is None
    if "(" in text:
        assert value(text, [0.1, 0.2], [0.0, 1.0], group=[NULL_KEY, NULL_KEY]) is None


def test_rows_beyond_the_limit_lie_on_disk_and_give_the_same():
    draw = np.random.default_rng(2)
    n = 5_000
    score = np.round(draw.random(n), 2)
    score[draw.random(n) < 0.4] = 0.5
    score[:3] = -np.inf, np.inf, np.inf
    label, group = (draw.random(n) < score).astype(np.float64), draw.integers(0, 300, n)
    amount = np.where(draw.random(n) < 0.3, 0.0, np.round(draw.normal(score.clip(0, 1)), 1))
    classes, weight = draw.integers(0, 3, n), draw.random(n)
    shares = np.eye(3)[classes] * draw.random((n, 1)) + draw.random((n, 3))
    cases = [
        ("auc", score, label),
        ("auc(weighted=true)", score, label),
        ("gauc(u)", score, label),
        ("multiclass_auc", shares, classes),
        ("xauc", score, amount),
        ("xauc(sample=3000)", score, amount),
        ("gxauc(u)", score, amount),
    ]
    for text, scores, labels in cases:
        values = []
        for limit in (400, 10 * n):
            metric = make_metric(parse_call(text))
            metric.rows = Rows(limit)
            for a in range(0, n, 170):
                rows = slice(a, a + 170)
                given = (torch.tensor(values[rows]) for values in (scores, labels, weight))
                metric.update(*given, group[rows])
            values.append(metric.compute())
            assert metric.rows.spilled == (limit == 400)
            assert max(len(c["score"]) for c in metric.rows.chunks()) <= limit
        assert values[0] == pytest.approx(values[1], abs=1e-12), text


def test_parts_of_rows_on_disk_are_small():
    """What is read at a time stays near the limit, also where half of the rows have one score."""
    draw = np.random.default_rng(0)
    rows, read = Rows(limit=500), []
    for _ in range(100):
        score = np.where(draw.random(200) < 0.5, 0.25, draw.random(200))
        rows.append(score=score, label=draw.random(200).round())
    with pytest.MonkeyPatch.context() as patched:
        for plain in (exact.auc_measures, exact.concordant):

            def counting(scores, *rest, plain=plain):
                read.append(len(scores))
                return plain(scores, *rest)

            patched.setattr(exact, plain.__name__, counting)
        assert spilled.auc(rows) is not None
        assert spilled.xauc(rows) is not None
    assert len(read) > 50 and max(read) <= 500
    parts = [len(part["score"]) for part in rows.split(lambda c: (c["score"] > 0.25) * 1, 1)]
    assert 0 < sum(parts) < len(rows)


def test_binned_auc_is_near_the_exact_one():
    draw = torch.Generator().manual_seed(0)
    score = torch.rand(5_000, generator=draw)
    label = (torch.rand(5_000, generator=draw) < score).float()
    exact, binned = Auc(), BinnedAuc(200)
    for metric in (exact, binned):
        metric.update(score, label)
    assert binned.compute() == pytest.approx(exact.compute(), abs=1e-4)


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("metric_auc", "auc(bins=200)"),
        ("metric_grouped_auc", "gauc(u)"),
        ("metric_grouped_xauc_all_pairs", "gxauc(u)"),
        ("metric_normalized_entropy", "normalized_entropy"),
    ],
)
def test_golden_metric(golden_case, case, text):
    desc, arrays = golden_case(case)
    metric = make_metric(parse_call(text))
    for call in desc["graph"]["calls"]:
        if call["op"] == "update":
            i = call["batch"]
            preds, target = (torch.from_numpy(arrays[f"in/{k}.{i}"]) for k in ("preds", "target"))
            metric.update(preds, target, None, arrays.get(f"in/group.{i}"))
        else:
            np.testing.assert_allclose(metric.compute(), arrays[f"out/{call['out']}"], rtol=1e-5)


def test_golden_decayed_auc(golden_case):
    desc, arrays = golden_case("metric_decay_auc")
    metric = make_decayed(parse_call(f"auc(bins={desc['graph']['params']['thresholds']})"))
    calls = desc["graph"]["calls"]
    for position, call in enumerate(calls):
        if call["op"] == "update":
            # The case decays when it says so: the update before a `decay` is the boundary.
            after = [c for c in calls[position + 1 :] if c["op"] != "compute"][:1]
            boundary = bool(after) and after[0]["op"] == "decay"
            metric.rate = after[0]["rate"] if boundary else metric.rate
            metric.step = metric.updates + 1 if boundary else metric.updates + 2
            i = call["batch"]
            wait = any(c["op"] == "compute" for c in calls[position + 1 : calls.index(after[0])])
            assert not wait or metric.value is None
            metric.update(*(torch.from_numpy(arrays[f"in/{k}.{i}"]) for k in ("preds", "target")))
        elif call["op"] == "compute" and call["out"] != "value.0":
            np.testing.assert_allclose(metric.value, arrays[f"out/{call['out']}"], rtol=1e-5)


def test_golden_decayed_mean(golden_case):
    desc, arrays = golden_case("metric_train_wrapper_mae")
    how = desc["graph"]["train_wrapper"]
    metric = make_decayed(parse_call(f"mae(step={how['decay_step']}, rate={how['decay_rate']})"))
    for call in desc["graph"]["calls"]:
        if call["op"] == "update":
            i = call["batch"]
            metric.update(*(torch.from_numpy(arrays[f"in/{k}.{i}"]) for k in ("preds", "target")))
        else:
            np.testing.assert_allclose(metric.value or 0.0, arrays[f"out/{call['out']}"], rtol=1e-5)


def test_rows_of_a_decayed_auc_are_counted_together_and_no_later(monkeypatch):
    """The same value as counted batch by batch, and no more rows wait than may."""
    torch.manual_seed(0)
    batches = [(torch.rand(700), (torch.rand(700) < 0.3).float()) for _ in range(30)]
    values = []
    for together in (1, 2000, 8192):
        monkeypatch.setattr(decayed, "_TOGETHER", together)
        metric = make_decayed(parse_call("auc(step=7, rate=0.9)"))
        for scores, labels in batches:
            metric.update(scores, labels)
            assert metric._rows < max(together, 7 * 700)
        values.append((metric.value, metric.state()["buffer"].sum()))
    assert values[0] == values[1] == values[2]
    assert values[0][1] == 700 * 2


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("limit", [200, 100_000])
@pytest.mark.parametrize("digits", [1, 12])
def test_pr_auc_is_average_precision(weighted: bool, limit: int, digits: int) -> None:
    """Equal to scikit-learn's with ties and weights, also when rows lie on disk."""
    draw = np.random.default_rng(digits)
    score = np.round(draw.normal(size=3000), digits)
    label = (draw.random(3000) < 1 / (1 + np.exp(2 - score))).astype(np.float32)
    weight = draw.random(3000).astype(np.float32)
    metric = make_metric(parse_call(f"pr_auc(weighted={str(weighted).lower()})"))
    metric.rows = Rows(limit)
    for part in np.array_split(np.arange(3000), 17):
        metric.update(*(torch.tensor(values[part]) for values in (score, label, weight)))
    expected = sk.average_precision_score(label, score, sample_weight=weight if weighted else None)
    assert metric.compute() == pytest.approx(expected, abs=1e-12)
    assert metric.rows.spilled == (limit == 200)


def test_pr_auc_without_positives_is_not_available() -> None:
    metric = make_metric(parse_call("pr_auc"))
    metric.update(torch.randn(5), torch.zeros(5))
    assert metric.compute() is None
    metric.update(torch.randn(1), torch.ones(1))
    assert 0 < metric.compute() <= 1
