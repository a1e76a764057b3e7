"""Where a NaN came from: the input, the weights or the node that made it."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from graphrec.compiler.pipeline import compile_recipe
from graphrec.data import Encoder, Loader, open_data
from graphrec.train import nan_guard
from graphrec.train.losses import TaskLosses

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


def test_a_feature_is_named_with_its_rows(parts, tmp_path):
    parts[2].features["price"][[2, 5]] = torch.nan
    assert "loss bce is not finite in step 7: feature `price` is not finite in rows 2, 5" in told(
        parts, tmp_path
    )


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
    assert nan_guard.finite_gradients(module)
    next(module.top.parameters()).grad[0] = torch.nan
    assert not nan_guard.finite_gradients(module)
    message = told(parts, tmp_path)
    assert "a gradient is not finite" in message and "node `top`" in message


def test_gradients_of_tables_are_watched(parts):
    _, module, batch = parts
    module(batch)["logits"].sum().backward()
    (table,) = [p for p in module.parameters() if p.grad is not None and p.grad.is_sparse]
    table.grad._values()[0] = torch.inf
    assert not nan_guard.finite_gradients(module)
