"""Loss blocks: roots of a graph that no task reads, returned as numbers and added to the loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.nn import Batch, InfoNCE
from graphrec.train.evaluation import LossMeans
from graphrec.train.losses import TaskLosses

Write = Callable[[str], Path]

HEAD = """\
graphrec: 1
name: toy
defaults: {feature: {dim: 4}}
features:
  - {type: id, group: user, names: {user_id: 10}}
  - {type: id, group: item, names: {item_id: 20}}
graph:
  u: {block: mlp, in: user, hidden: [3]}
  v: {block: mlp, in: item, hidden: [3]}
  top: {block: mlp, in: item, hidden: [3]}
"""
NCE = "  nce: {block: info_nce, in: {a: u, b: v}, temperature: 0.2, weight: 0.5}\n"
TASK = "tasks: {ctr: {label: y, in: top}}\n"


def batch(rows: int = 6) -> Batch:
    ids = {"user_id": torch.arange(rows) % 10, "item_id": torch.arange(rows) * 3 % 20}
    return Batch(dict(ids), labels={"ctr": torch.arange(rows) % 2 * 1.0})


def test_it_is_what_the_paper_says() -> None:
    a, b = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    scores = torch.stack([F.cosine_similarity(a[i], b, dim=-1) for i in range(5)]) / 0.2
    terms = [scores[i].logsumexp(0) - scores[i, i] for i in range(5)]
    found = InfoNCE(temperature=0.2, weight=3.0)(a, b)
    torch.testing.assert_close(found, 3 * torch.stack(terms).mean())


def test_zero_vectors_have_bounded_gradients() -> None:
    a = torch.zeros(3, 4, requires_grad=True)
    InfoNCE()(a, torch.randn(3, 4)).backward()
    assert a.grad is not None and bool((a.grad.abs() < 1e8).all())


def test_a_loss_block_is_a_root_and_adds_to_the_loss(write_recipe: Write) -> None:
    compiled = compile_recipe(write_recipe(HEAD + NCE + TASK))
    assert {"nce", "u", "v", "user"} <= {node.name for node in compiled.graph.nodes}
    module = compiled.module()
    predictions = module(batch())
    assert list(predictions) == ["logits", "probs", "nce_loss"]
    torch.testing.assert_close(module.eval()(batch())["nce_loss"], predictions["nce_loss"])
    losses = TaskLosses(compiled.recipe)
    found = losses(predictions, batch())
    assert set(found.parts) == {"bce", "nce_loss"}
    torch.testing.assert_close(found.total, found.parts["bce"] + predictions["nce_loss"])
    found.total.backward()
    gradient = module.get_submodule("u").layers[0].weight.grad  # type: ignore[union-attr, index]
    assert gradient is not None and bool(gradient.any())
    means = LossMeans(losses)
    means.add(found)
    values = means.values()
    assert values["nce.loss"] == pytest.approx(float(predictions["nce_loss"].detach()))
    assert values["loss"] == pytest.approx(float(found.total.detach()))


def test_one_loss_for_each_copy(write_recipe: Write) -> None:
    text = NCE.replace("weight: 0.5", "each: [x, y]")
    module = compile_recipe(write_recipe(HEAD + text + TASK)).module()
    assert {"nce.x_loss", "nce.y_loss"} <= module(batch()).keys()


def test_a_composite_may_end_in_a_loss(write_recipe: Write) -> None:
    text = """\
  pulled: {block: pull, in: {left: u, right: v}}
blocks:
  pull:
    inputs: [left, right]
    graph:
      a: {block: linear, in: left, out: 2}
      b: {block: linear, in: right, out: 2}
      nce: {block: info_nce, in: {a: a, b: b}}
    output: nce
"""
    module = compile_recipe(write_recipe(HEAD + text + TASK)).module()
    assert "pulled.nce_loss" in module(batch())


def test_switched_off_it_is_gone(write_recipe: Write) -> None:
    path = write_recipe(HEAD + NCE + TASK)
    compiled = compile_recipe(path, overrides=["graph.nce.enabled=false"])
    names = {node.name for node in compiled.graph.nodes}
    assert not names & {"nce", "u", "v", "user"}
    assert list(compiled.module()(batch())) == ["logits", "probs"]


@pytest.mark.parametrize(
    "reader",
    [
        "top2: {block: mlp, in: nce, hidden: [2]}",
        "top2: {block: mlp, in: [top, nce], hidden: [2]}",
        "top2: top * nce",
    ],
)
def test_nothing_reads_a_loss(write_recipe: Write, reader: str) -> None:
    text = HEAD + NCE + f"  {reader}\n" + TASK.replace("top", "top2")
    (problem,) = [p for p in check_recipe(write_recipe(text)).errors if p.code == "GR501"]
    assert "`nce` is a term of the loss" in problem.message


def test_widths_must_be_equal(write_recipe: Write) -> None:
    text = HEAD.replace(
        "u: {block: mlp, in: user, hidden: [3]}", "u: {block: mlp, in: user, hidden: [5]}"
    )
    (problem,) = check_recipe(write_recipe(text + NCE + TASK)).errors
    assert problem.code == "GR501"
    assert "a and b of equal shapes" in problem.message
