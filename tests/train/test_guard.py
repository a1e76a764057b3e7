"""Where a NaN came from: the input, the weights or the node that made it."""

from __future__ import annotations

import dataclasses
import errno

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from graphrec.compiler.pipeline import compile_recipe
from graphrec.data import Encoder, Loader, open_data
from graphrec.ground.errors import DataError
from graphrec.nn.batch import Jagged
from graphrec.train import nan_guard
from graphrec.train.losses import TaskLosses
from graphrec.train.optimizers import clip_gradients
from graphrec.views.catalog import find_recipe, shipped_recipes

RECIPE = """
graphrec: 1
name: tiny
data: {synthetic: 200, workers: 0}
features:
  - {type: id, names: item, vocab: 20, dim: 4}
  - {type: dense, names: price}
graph:
  deep: {block: mlp, in: all, hidden: [8]}
  top: {block: mlp, in: deep, hidden: [4]}
tasks: {click: {label: click, in: top}}
"""


@pytest.fixture
def parts():
    compiled = compile_recipe(RECIPE)
    data = open_data(compiled.recipe)
    encoder = Encoder.fit(compiled.recipe, data.train)
    batch = next(Loader(compiled.recipe, encoder, data.train, 8, shuffle=False).epoch(0))
    return compiled, compiled.module(encoder.rows), batch


def told(parts, tmp_path) -> str:
    compiled, module, batch = parts
    losses = TaskLosses(compiled.recipe)(module(batch), batch)
    error = nan_guard.not_finite(module, compiled.graph, batch, losses, 7, tmp_path)
    kept = load_file(tmp_path / "not-finite-step-00000007.safetensors")
    assert torch.equal(kept["features/item"], batch.features["item"])
    return error.problems[0].message


def test_ids_of_steps_are_kept_but_never_blamed(parts, tmp_path):
    batch = parts[2]
    steps = Jagged(torch.arange(9), torch.tensor([2, 3, 4]))
    batch.features["seen"] = Jagged(steps, torch.tensor([1, 0, 2, 0, 0, 0, 0, 0]))
    batch.features["price"][4] = torch.nan
    assert "feature `price` is not finite in row 4" in told(parts, tmp_path)
    kept = load_file(tmp_path / "not-finite-step-00000007.safetensors")
    assert kept["features/seen.values.lengths"].tolist() == [2, 3, 4]


def test_a_feature_is_named_with_its_rows(parts, tmp_path):
    parts[2].features["price"][[2, 5]] = torch.nan
    assert "loss bce is not finite in step 7: feature `price` is not finite in rows 2, 5" in told(
        parts, tmp_path
    )


def test_a_full_disk_does_not_hide_the_cause(parts, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nan_guard, "write_tensors", full)
    compiled, module, batch = parts
    batch.features["price"][2] = torch.nan
    losses = TaskLosses(compiled.recipe)(module(batch), batch)
    (problem,) = nan_guard.not_finite(module, compiled.graph, batch, losses, 7, tmp_path).problems
    assert "feature `price` is not finite in row 2" in problem.message
    assert "could not be kept" in problem.help and "No space left" in problem.help


def test_a_node_is_named_with_its_line(parts, tmp_path):
    class Bad(nn.Module):
        def forward(self, x):
            return torch.where(torch.arange(len(x))[:, None] == 3, torch.inf, x[:, :4])

    parts[1].top = Bad()
    message = told(parts, tmp_path)
    assert "node `top`" in message and "in row 3 (its inputs are finite)" in message
    assert ":10:" in message or ":9:" in message


def test_weights_are_named(parts, tmp_path):
    with torch.no_grad():
        next(parts[1].deep.parameters())[0] = torch.nan
    message = told(parts, tmp_path)
    assert "weights of node `deep`" in message and "an earlier update" in message


def test_gradients_are_watched_and_named(parts, tmp_path):
    _, module, batch = parts
    module(batch)["logits"].sum().backward()
    assert nan_guard.largest_gradient(module.parameters()) < nan_guard.TOO_LARGE
    next(module.top.parameters()).grad[0] = torch.nan
    assert not nan_guard.largest_gradient(module.parameters()) < nan_guard.TOO_LARGE
    message = told(parts, tmp_path)
    assert "a gradient is not finite" in message and "node `top`" in message


def test_gradients_of_tables_are_watched(parts):
    _, module, batch = parts
    module(batch)["logits"].sum().backward()
    (table,) = [p for p in module.parameters() if p.grad is not None and p.grad.is_sparse]
    table.grad._values()[0] = torch.inf
    assert not nan_guard.largest_gradient(module.parameters()) < nan_guard.TOO_LARGE


class Poisoned(torch.autograd.Function):
    """Gives its input, and a gradient that is not a number."""

    @staticmethod
    def forward(context, x):
        return x.view_as(x)

    @staticmethod
    def backward(context, grad):
        return torch.full_like(grad, torch.nan)


def poisoned(value):
    """The same, so that every gradient that passes is NaN."""
    if isinstance(value, torch.Tensor):
        return Poisoned.apply(value) if value.is_floating_point() else value
    if isinstance(value, Jagged):
        return dataclasses.replace(value, values=poisoned(value.values))
    if isinstance(value, dict):
        return {key: poisoned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(poisoned(item) for item in value)
    return value


def differentiable(value) -> bool:
    return any(tensor.requires_grad for tensor in nan_guard._tensors(value))


QUICK = ("shop", "kuairand_mmoe_din", "dcn_v2", "ple")
ZOO = sorted(recipe.name for recipe in shipped_recipes() if not recipe.name.endswith("_base"))


@pytest.mark.parametrize("name", ZOO)
def test_a_gradient_that_turns_bad_is_named_at_every_node(name, tmp_path, soak):
    if name not in QUICK and not soak:
        pytest.skip("the long form looks at every recipe: --soak")
    compiled = compile_recipe(find_recipe(name), overrides=["data={synthetic: 60, workers: 0}"])
    recipe = compiled.recipe
    data = open_data(recipe)
    encoder = Encoder.fit(recipe, data.train)
    batch = next(Loader(recipe, encoder, data.train, 8, shuffle=False).epoch(0))
    module, losses_of = compiled.module(encoder.rows), TaskLosses(recipe)
    taken = {}
    for child, layer in module.named_children():
        layer.register_forward_pre_hook(
            lambda _, args, kwargs, child=child: taken.update({child: (args, kwargs)}),
            with_kwargs=True,
        )
    losses_of(module(batch), batch)
    children = [child for child, inputs in taken.items() if differentiable(inputs)]
    assert children
    for child in children:
        layer = getattr(module, child)
        plain = layer.forward
        # bad behind this node's inputs: its own gradients come in good, and go on bad
        layer.forward = lambda *a, plain=plain, **k: plain(*poisoned(a), **poisoned(k))
        module.zero_grad()
        losses = losses_of(module(batch), batch)
        losses.total.backward()
        if nan_guard.largest_gradient(module.parameters()) < nan_guard.TOO_LARGE:
            layer.forward = plain  # nothing behind it is learned
            continue
        replay = lambda: losses_of(module(batch), batch).total  # noqa: E731
        error = nan_guard.not_finite(module, compiled.graph, batch, losses, 1, tmp_path, replay)
        layer.forward = plain
        node = nan_guard._node(child, compiled.graph)
        assert f"the gradient of {node}" in error.problems[0].message, child


def test_a_gradient_too_large_for_its_square_names_feature_and_rows(parts, tmp_path):
    compiled, module, batch = parts
    batch.features["price"][5] = 1e22
    losses_of = TaskLosses(compiled.recipe)
    module(batch)["logits"].sum().backward()
    assert nan_guard.TOO_LARGE < nan_guard.largest_gradient(module.parameters()) < torch.inf
    losses = losses_of(module(batch), batch)
    error = nan_guard.not_finite(module, compiled.graph, batch, losses, 7, tmp_path)
    message = error.problems[0].message
    assert (
        "too large for its square, in step 7: feature `price` comes to 1.0e+22, in row" in message
    )
    assert "5" in message


def test_clipping_knows_the_norm_of_large_gradients():
    large = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))]
    large[0].grad, large[1].grad = torch.tensor([3e25, 0.0]), torch.tensor([0.0, 4e25, 0.0])
    clip_gradients(large, 1.0)
    assert large[0].grad.tolist() == pytest.approx([0.6, 0.0])
    assert large[1].grad.tolist() == pytest.approx([0.0, 0.8, 0.0])
    small = [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    for parameter, other in zip(small, clones := [nn.Parameter(torch.zeros(2)) for _ in small],
                                strict=True):  # fmt: skip
        parameter.grad = torch.randn(2)
        other.grad = parameter.grad.clone()
    clip_gradients(small, 0.3)
    nn.utils.clip_grad_norm_(clones, 0.3)
    for parameter, other in zip(small, clones, strict=True):
        torch.testing.assert_close(parameter.grad, other.grad)


def test_pareto_is_not_asked_for_weights_of_what_is_not_finite(tmp_path):
    from graphrec.train import train

    class Silent:
        quiet = True

        def result(self, text): ...

        remark = result

    text = RECIPE.replace(
        "tasks: {click: {label: click, in: top}}",
        "tasks: {click: {label: click, in: top}, buy: {label: buy, in: top}}",
    )
    settings = ["train.balance=pareto", "train.lr=1e30", "train.batch=20", "train.epochs=3"]
    with pytest.raises(DataError, match="GR720"):
        train(compile_recipe(text, overrides=settings), console=Silent(), run_dir=tmp_path / "run")
