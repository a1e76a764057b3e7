"""Losses, weights and spaces: golden values of the specification, golden cases, edge cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graphrec.data.chunk import NULL_KEY
from graphrec.nn.batch import Batch
from graphrec.train import losses
from graphrec.train.loss_rows import jrc
from graphrec.train.losses import compute
from graphrec.train.whole_rows import every_row_counts

NAMES = {
    "binary_cross_entropy": "bce",
    "binary_focal_loss": "focal",
    "softmax_cross_entropy": "softmax",
    "jrc_loss": "jrc",
    "l2_loss": "l2",
}


def batch(labels: dict[str, Any], weights: dict[str, Any] | None = None, **columns: Any) -> Batch:
    def tensors(values: dict[str, Any]) -> dict[str, Tensor]:
        return {name: torch.as_tensor(value) for name, value in values.items()}

    arrays = {name: np.asarray(value) for name, value in columns.items()}
    return Batch({}, tensors(labels), tensors(weights or {}), arrays)


def single(recipe_of, given, output, label, **task) -> float:
    kind = "regression" if "l2" in given else "binary"
    more = {"classes": 2} if {"softmax", "jrc"} & set(given) else {}
    recipe = recipe_of({"t": {"loss": given, "kind": kind, **more, **task}})
    key = "y" if kind == "regression" else "logits"
    weights = {"t": torch.tensor(task.pop("_w"))} if "_w" in task else {}
    return float(compute(recipe, {key: torch.tensor(output)}, batch({"t": label}, weights)).total)


@pytest.mark.parametrize(
    ("loss", "output", "label", "expected"),
    [
        ({"bce": {}}, [0.2, 0.3], [0.0, 1.0], 0.6762),
        ({"bce": {"label_smoothing": 0.1}}, [0.2, 0.3], [0.0, 1.0], 0.6787),
        # softplus(0.2) = 0.7981 and 3 softplus(-0.3) = 1.6631
        ({"bce": {"pos_weight": 3.0}}, [0.2, 0.3], [0.0, 1.0], (0.7981 + 1.6631) / 2),
        ({"l2": {}}, [0.2, 0.3], [0.0, 1.0], 0.2650),
        ({"softmax": {}}, [[0.2, 0.4], [0.3, 0.5]], [0, 1], 0.6981),
        (
            {"focal": {"gamma": 2.0, "alpha": 0.5}},
            [0.9, 0.5, 0.3, 0.2, 0.8, 0.5, 0.3, 0.5],
            [1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0],
            0.0830,
        ),
    ],
)
def test_values_of_the_specification(recipe_of, loss, output, label, expected):
    assert single(recipe_of, loss, output, label) == pytest.approx(expected, abs=5e-5)


def test_focal_factor_is_detached(recipe_of):
    x = torch.tensor([0.3], requires_grad=True)
    recipe = recipe_of({"t": {"loss": {"focal": {}}}})
    compute(recipe, {"logits": x}, batch({"t": [1.0]})).total.backward()
    assert float(x.grad) == pytest.approx(-0.038534, abs=1e-6)


def test_sample_weights(recipe_of):
    recipe = recipe_of({"t": {"sample_weight": "w"}})
    predictions = {"logits": torch.tensor([0.2, 0.3])}
    found = compute(recipe, predictions, batch({"t": [0.0, 1.0]}, {"t": [1.0, 2.0]}))
    assert float(found.total) == pytest.approx(0.6356, abs=5e-5)
    found = compute(recipe, predictions, batch({"t": [0.0, 1.0]}, {"t": [0.0, 0.0]}))
    assert float(found.total) == 0.0


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_two_tasks_and_a_space(recipe_of, weight):
    predictions = {"logits_t1": torch.tensor([0.2, 0.3]), "logits_t2": torch.tensor([1.2, 1.3])}
    labels = {"t1": [0.0, 1.0], "t2": [1.0, 0.0]}
    recipe = recipe_of({"t1": {}, "t2": {"weight": weight}})
    found = compute(recipe, predictions, batch(labels))
    assert float(found.parts["bce_t1"]) == pytest.approx(0.6762, abs=5e-5)
    assert float(found.parts["bce_t2"]) == pytest.approx(0.9021 * weight, abs=5e-5)
    for inside in (1.0, 7.0):
        space = {"label": "label_t1", "inside": inside}
        recipe = recipe_of({"t1": {}, "t2": {"weight": weight, "space": space}})
        found = compute(recipe, predictions, batch(labels, label_t1=[0.0, 1.0]))
        assert float(found.parts["bce_t2"]) == pytest.approx(1.5410 * weight, abs=5e-5)
    nobody = compute(recipe, predictions, batch(labels, label_t1=[0.0, 0.0]))
    assert float(nobody.parts["bce_t2"]) == 0.0


JRC_LOGITS = torch.tensor(
    [
        [0.9, 0.1],
        [0.5, 0.5],
        [0.3, 0.7],
        [0.2, 0.8],
        [0.8, 0.2],
        [0.55, 0.45],
        [0.33, 0.67],
        [0.55, 0.45],
    ]
)
SESSIONS = [1, 1, 1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (
            [0, 0, 1, 1, 0, 0, 1, 1],
            [0.5433, 0.8165, 0.6874, 0.6214, 0.6573, 0.8375, 0.7122, 0.8832],
        ),
        ([0] * 8, [0.1856, 0.3466, 0.4565, 0.5187, 0.2187, 0.3222, 0.4388, 0.3222]),
    ],
)
def test_jrc(recipe_of, label, expected):
    rows = jrc(JRC_LOGITS, torch.tensor(label), torch.tensor(SESSIONS), 0.5)
    assert rows.tolist() == pytest.approx(expected, abs=5e-5)
    recipe = recipe_of({"t": {"loss": {"jrc": {"session": "s"}}, "classes": 2}})
    found = compute(recipe, {"logits": JRC_LOGITS}, batch({"t": label}, s=SESSIONS))
    assert float(found.total) == pytest.approx(np.mean(expected), abs=5e-5)


def test_jrc_rows_without_a_session_stand_alone(recipe_of):
    recipe = recipe_of({"t": {"loss": {"jrc": {"session": "s"}}, "classes": 2}})
    label = [0, 0, 1, 1, 0, 0, 1, 1]
    alone = compute(recipe, {"logits": JRC_LOGITS}, batch({"t": label}, s=list(range(8))))
    null = compute(recipe, {"logits": JRC_LOGITS}, batch({"t": label}, s=[NULL_KEY] * 8))
    assert float(null.total) == float(alone.total)


def test_jrc_gradients_against_pairs():
    draw = torch.Generator().manual_seed(3)
    logits = (torch.randn(40, 2, generator=draw, dtype=torch.float64) * 30).requires_grad_()
    label = torch.randint(-1, 2, (40,), generator=draw)
    session = torch.randint(0, 6, (40,), generator=draw)
    rows = []
    for i in range(40):
        if label[i] < 0:
            rows.append(torch.zeros((), dtype=torch.float64))
            continue
        keep = (session == session[i]) & (label != label[i]) & (label >= 0)
        keep[i] = True
        column = logits[:, label[i]]
        ce = torch.nn.functional.cross_entropy(logits[i], label[i])
        rows.append(0.3 * ce + 0.7 * (torch.logsumexp(column[keep], 0) - column[i]))
    expected = torch.stack(rows)
    found = jrc(logits, label, session, 0.3)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(40, generator=draw, dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), logits)[0],
        torch.autograd.grad((expected * weights).sum(), logits)[0],
    )


def test_rows_without_a_label_do_not_count(recipe_of):
    recipe = recipe_of({"t": {}})
    output = torch.tensor([0.2, 5.0, 0.3], requires_grad=True)
    found = compute(recipe, {"logits": output}, batch({"t": [0.0, float("nan"), 1.0]}))
    found.total.backward()
    assert float(found.total.detach()) == pytest.approx(0.6762, abs=5e-5)
    assert int(found.missing["t"]) == 1
    assert output.grad.tolist()[1] == 0 and output.grad.isfinite().all()
    recipe = recipe_of({"t": {"loss": {"softmax": {}}, "kind": "multiclass", "classes": 3}})
    output = torch.randn(2, 3, requires_grad=True)
    found = compute(recipe, {"logits": output}, batch({"t": [-1, -1]}))
    found.total.backward()
    assert float(found.total.detach()) == 0 and not output.grad.any()


def test_probabilities_are_clamped(recipe_of):
    tasks = {"ctr": {}, "ctcvr": {"in": None, "prob": "ctr.prob"}}
    predictions = {"logits_ctr": torch.zeros(2), "probs_ctcvr": torch.tensor([0.0, 0.25])}
    found = compute(recipe_of(tasks), predictions, batch({"ctr": [0.0, 1.0], "ctcvr": [1.0, 0.0]}))
    expected = (-np.log(1e-7) - np.log(0.75)) / 2
    assert float(found.parts["bce_ctcvr"]) == pytest.approx(expected, rel=1e-5)


def test_several_losses_are_summed_and_penalties_added(recipe_of):
    recipe = recipe_of({"t": {"loss": {"bce": {}, "focal": {}}}})
    predictions = {"logits": torch.tensor([0.2, 0.3]), "deep_feature_p_loss": torch.tensor(0.5)}
    found = compute(recipe, predictions, batch({"t": [0.0, 1.0]}))
    assert set(found.parts) == {"bce", "focal", "deep_feature_p_loss"}
    assert float(found.total) == pytest.approx(sum(float(p) for p in found.parts.values()))


@pytest.mark.parametrize(
    "case",
    [
        "loss_bce",
        "loss_focal",
        "loss_jrc",
        "loss_l2",
        "loss_multi_task_space",
        "loss_softmax_smoothing",
    ],
)
def test_golden_case(recipe_of, golden_case, case):
    desc, arrays = golden_case(case)
    tasks, predictions, labels, columns, leaves = {}, {}, {}, {}, {}
    for task in desc.get("tasks") or [desc["task"]]:
        name = task.get("name", "t")
        end = f"_{name}" if "tasks" in desc else ""
        given = {NAMES[loss["type"]]: parameters(loss) for loss in task["losses"]}
        kind = (
            "regression" if "l2" in given else "multiclass" if task["num_class"] > 1 else "binary"
        )
        spec = {"loss": given, "kind": kind, "label": {"column": task["label"]}}
        spec |= {"classes": task["num_class"]} if kind == "multiclass" else {}
        spec |= {"weight": task["weight"]} if "weight" in task else {}
        if "task_space" in task:
            spec["space"] = {"label": task["task_space"], "inside": 1.0, "outside": 0.0}
            columns[task["task_space"]] = arrays[f"in/label.{task['task_space']}"]
        tasks[name] = spec
        raw = torch.from_numpy(arrays[f"in/raw{end}"]).requires_grad_()
        leaves[f"grad/in.raw{end}"] = raw
        output = raw if kind == "multiclass" else raw[:, 0]
        predictions[("y" if kind == "regression" else "logits") + end] = output
        label = torch.from_numpy(arrays[f"in/label.{task['label']}"])
        labels[name] = label if kind == "multiclass" else label.float()
    columns |= {"session": arrays["in/session"]} if "in/session" in arrays else {}
    found = compute(recipe_of(tasks), predictions, batch(labels, **columns))
    found.total.backward()
    near = {"rtol": 1e-5, "atol": 1e-7}
    np.testing.assert_allclose(found.total.detach(), arrays["loss/total"], **near)
    for key, value in arrays.items():
        if key.startswith("loss/") and key != "loss/total":
            kind = next(k for k in NAMES if key.startswith(f"loss/{k}"))
            mine = found.parts[NAMES[kind] + key.removeprefix(f"loss/{kind}")]
            np.testing.assert_allclose(mine.detach(), value, **near)
    for key, leaf in leaves.items():
        np.testing.assert_allclose(leaf.grad, arrays[key], rtol=1e-4, atol=1e-7)


def parameters(loss: dict[str, Any]) -> dict[str, Any]:
    names = {"session_name": "session"}
    return {names.get(k, k): v for k, v in loss.items() if k != "type"}


def test_a_mean_in_one_operation_is_the_weighted_sum(recipe_of, monkeypatch):
    """Of rows that all count alike; loss, mass and gradient as the way of single rows gives them."""
    torch.manual_seed(0)
    recipe = recipe_of({"t": {"loss": {"bce": {}}, "weight": 0.3}})
    output, label = 30 * torch.randn(131), (torch.rand(131) < 0.2).float()
    results = []
    for fast in (True, False):
        monkeypatch.setattr(losses, "every_row_counts", lambda label, fast=fast: fast)
        logits = output.clone().requires_grad_()
        given = compute(recipe, {"logits": logits}, batch({"t": label}))
        (gradient,) = torch.autograd.grad(3 * given.total, logits)
        results.append([given.total, given.mass["bce"], given.missing["t"], gradient])
        assert ("MeanBce" in str(given.parts["bce"].grad_fn)) is fast
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_a_row_without_a_label_takes_the_way_of_single_rows(odd: float) -> None:
    assert every_row_counts(torch.tensor([0.0, 1.0, 0.5]))
    assert not every_row_counts(torch.tensor([0.0, odd, 0.5]))
