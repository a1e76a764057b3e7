"""`losses:`: what the graph computes is minimised; tasks that only training has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import graphrec
from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.nn import Batch
from graphrec.train.losses import TaskLosses

Write = Callable[[str], Path]

TEXT = """\
graphrec: 1
name: taught
data: {synthetic: 100}
features: [{type: id, names: {user: 10, item: 20}, dim: 4}]
graph:
  light_net: {block: mlp, in: all, hidden: [4]}
  big_net: {block: mlp, in: all, hidden: [8, 6]}
tasks:
  light: {label: click, in: light_net}
  booster: {label: click, in: big_net, when: train}
losses:
  hint: (light.logit - stop(booster.logit)) ** 2
  near: {value: sum(abs(all)), weight: 0.25, from_step: 3}
"""


def batch() -> Batch:
    labels = torch.tensor([1.0, 0.0, 1.0])
    features = {"user": torch.tensor([1, 2, 3]), "item": torch.tensor([4, 5, 6])}
    return Batch(features, {"light": labels, "booster": labels})


def test_the_terms_of_a_batch(write_recipe: Write) -> None:
    compiled = compile_recipe(write_recipe(TEXT))
    module, losses = compiled.module(), TaskLosses(compiled.recipe)
    predictions = module(batch())
    hint = (predictions["logits_light"] - predictions["logits_booster"]).square().mean()
    near = module.embeddings(batch().features).concat().abs().sum(1).mean()
    losses.step = 2
    early = losses(predictions, batch()).parts
    losses.step = 3
    late = losses(predictions, batch()).parts
    torch.testing.assert_close(late["hint_loss"], hint)
    torch.testing.assert_close(late["near_loss"], 0.25 * near)
    assert not early["near_loss"].detach().any()
    torch.testing.assert_close(early["hint_loss"], hint)


def test_no_gradient_reaches_what_is_stopped(write_recipe: Write) -> None:
    module = compile_recipe(write_recipe(TEXT)).module()
    module(batch())["hint_loss"].backward()
    assert module.head_light.weight.grad is not None
    assert module.head_booster.weight.grad is None


def test_inference_computes_the_light_net_alone(write_recipe: Write) -> None:
    graph = compile_recipe(write_recipe(TEXT), purpose="inference").graph
    assert set(graph.order()) == {"all", "light_net", "head.light"}
    module = compile_recipe(write_recipe(TEXT), purpose="inference").module()
    assert set(module(batch())) == {"logits_light", "probs_light"}


BLOCKS = """\
graphrec: 1
name: funnel
data: {synthetic: 200}
features: [{type: id, names: {user: 10, item: 20}, dim: 4}]
graph:
  small: {block: mlp, in: all, hidden: [6, 4], hidden_outputs: true}
  large: {block: mlp, in: all, hidden: [8, 6], hidden_outputs: true, when: train}
  twice: large.hidden1 * 2
tasks:
  click: {label: click, in: small.hidden1}
  buy: {label: buy, in: small.hidden1}
  booster: {label: click, in: twice, when: train}
losses:
  order: {block: order_calibrated, in: [click.prob, buy.prob], weight: 3}
  hint: {block: hint, in: {student: click.logit, teacher: booster.logit}}
  soft: {block: hint, in: {student: click.logit, teacher: booster.logit}, kind: soft, temperature: 2.0}
  far: {block: similarity, in: {student: small.hidden0, teacher: large.hidden1}, kind: euclid}
train: {batch: 64, epochs: 1}
"""


def test_blocks_as_terms(write_recipe: Write) -> None:
    """Each block's value and gradient, by hand."""
    compiled = compile_recipe(write_recipe(BLOCKS))
    module, losses = compiled.module(), TaskLosses(compiled.recipe)
    labels = torch.tensor([1.0, 0.0, 1.0])
    rows = Batch(batch().features, dict.fromkeys(("click", "buy", "booster"), labels))
    predicted = module(rows)
    parts = losses(predicted, rows).parts
    click, buy, booster = (predicted[f"logits_{t}"] for t in ("click", "buy", "booster"))
    rise = (torch.sigmoid(buy) - torch.sigmoid(click)).clamp(min=0).mean()
    torch.testing.assert_close(parts["order_loss"], 3 * rise)
    torch.testing.assert_close(parts["hint_loss"], (click - booster).square().mean())
    target, student = torch.sigmoid(booster / 2), click / 2
    entropy = -(
        target * torch.sigmoid(student).log() + (1 - target) * torch.sigmoid(-student).log()
    )
    torch.testing.assert_close(parts["soft_loss"], 4 * entropy.mean())
    x = module.embeddings(rows.features).concat()
    gap = module.small(x)[0] - module.large(x)[1].detach()
    torch.testing.assert_close(parts["far_loss"], gap.square().sum().sqrt())
    sum(parts[f"{name}_loss"] for name in ("hint", "soft", "far")).backward()
    assert all(
        p.grad is None for p in (*module.large.parameters(), *module.head_booster.parameters())
    )
    assert all(p.grad.abs().sum() > 0 for p in module.small.parameters() if p.grad is not None)


def test_what_is_for_training_is_computed_there_alone(write_recipe: Write) -> None:
    path = write_recipe(BLOCKS)
    compiled = compile_recipe(path)
    assert compiled.graph.training_only == {
        *("large", "twice", "head.booster", "loss.hint", "loss.soft", "loss.far"),
    }
    module = compiled.module()
    assert {"probs_booster", "hint_loss"} <= module(batch()).keys()
    calls = []
    module.large.register_forward_hook(lambda *_: calls.append(1))
    module.eval()
    assert set(module(batch())) == {
        *(f"{key}_{task}" for key in ("logits", "probs") for task in ("click", "buy")),
        "order_loss",
    }
    assert not calls
    order = compile_recipe(path, purpose="inference").graph.order()
    assert set(order) == {"all", "small", "head.click", "head.buy"}


def test_a_run_with_nodes_of_training_alone(write_recipe: Write, tmp_path: Path) -> None:
    run = graphrec.train(str(write_recipe(BLOCKS)), run_dir=str(tmp_path / "run"), quiet=True)
    record = run.evaluate()
    assert record["booster.auc"] is None and record["click.loss"] is not None
    assert "hint.loss" not in record
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    trained = [json.loads(line) for line in lines]
    assert trained[0]["hint.loss"] is not None and trained[0]["booster.loss"] is not None


ALONE = """\
graphrec: 1
name: apart
data: {synthetic: 300}
features:
  - {type: id, names: {user: 10}, dim: 4, group: user}
  - {type: id, names: {item: 20}, dim: 4, group: item}
graph:
  u: {block: mlp, in: user, hidden: [4]}
  v: {block: mlp, in: item, hidden: [4]}
losses:
  nce: {block: info_nce, in: {a: u, b: v}}
export: {nodes: [u]}
train: {batch: 64, epochs: 2, early_stop: {metric: nce.loss, patience: 1}}
"""


def test_losses_and_no_task(write_recipe: Write, tmp_path: Path) -> None:
    path = write_recipe(ALONE)
    run = graphrec.train(str(path), run_dir=str(tmp_path / "run"), quiet=True)
    record = run.evaluate()
    assert record["loss"] == record["nce.loss"] > 0
    assert set(compile_recipe(path, purpose="inference").graph.order()) == {"user", "u"}
    text = ALONE.replace("export: {nodes: [u]}\n", "")
    (problem,) = check_recipe(write_recipe(text), purpose="inference").problems
    assert problem.code == "GR409"
    text = ALONE.replace("losses:\n  nce: {block: info_nce, in: {a: u, b: v}}\n", "tasks: {}\n")
    assert "GR206" in {p.code for p in check_recipe(write_recipe(text)).problems}


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ("tasks.booster.when=always", "GR408", "reads a node with `when: train`"),
        ("export.nodes=[twice]", "GR408", "`twice` is for training alone"),
        ("losses.hint.block=mlp", "GR501", "gives no term of a loss"),
        ("losses.hint.value=sum(all)", "GR205", "a term has one of them"),
        ("losses.hint.kind=cubic", "GR202", "one of squared, soft"),
        ("losses.order.in=[click.prob]", "GR501", "two probabilities or more"),
        ("losses.hint.in.teacher=boster.logit", "GR301", "no task `boster`"),
    ],
)
def test_what_is_wrong_with_blocks_is_told(
    changed: str, code: str, said: str, write_recipe: Write
) -> None:
    problems = check_recipe(write_recipe(BLOCKS), overrides=[changed]).problems
    assert [p.code for p in problems] == [code], problems
    assert said in problems[0].message + problems[0].help


@pytest.mark.parametrize(
    ("term", "code", "said"),
    [
        ("hint: all * 2", "GR506", "one number a row, [B, 1], not [B, 8]"),
        ("hint: light.logits", "GR301", "no node or group `light`"),
        ("hint: lihgt.logit", "GR301", "no task `lihgt`"),
        ("hint: sum(all) ^ 2", "GR207", "`^` is no power"),
        ("hint: sum(all) ** 0.5", "GR207", "a whole number from 2 to 8"),
        ("hint: {value: sum(all), wieght: 2}", "GR201", "unknown key `wieght`"),
        ("hint: {value: sum(all), weight: -1}", "GR202", "at least 0"),
        ("class: sum(all)", "GR320", "class"),
    ],
)
def test_what_is_wrong_is_told(term: str, code: str, said: str, write_recipe: Write) -> None:
    text = TEXT[: TEXT.index("  hint:")] + f"  {term}\n"
    problems = check_recipe(write_recipe(text)).problems
    assert [problem.code for problem in problems] == [code]
    assert said in problems[0].message
    assert problems[0].span is not None and problems[0].span.line == 12
