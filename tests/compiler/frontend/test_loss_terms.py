"""`losses:`: what the graph computes is minimised; tasks that only training has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

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
