"""Activations: the table's own conform, those of plugins are read, written, trained and checked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from graphrec.blocks.library import BUILTIN
from graphrec.cli import main
from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.ground.activation_table import ACTIVATIONS
from graphrec.verify.measures import check_activation
from graphrec.views.schema import recipe_schema

PLUGIN = """
from graphrec import Activation, Number

SQUARED = Activation(
    "MODULE_layers:Squared", "max(x, 0) ** power.", {"power": Number(2.0, low=1)}, learns="each",
    width=True,
)
WRONG = Activation("MODULE_layers:Squared", "It has weights.", width=True)
ROLLED = Activation("MODULE_layers:Rolled", "The row before.")
"""
LAYERS = """
import torch
from torch import nn


class Squared(nn.Module):
    def __init__(self, width, power=2.0):
        super().__init__()
        self.power, self.scale = power, nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.scale * x.clamp(min=0) ** self.power


class Rolled(nn.Module):
    def forward(self, x):
        return x.roll(1, 0)
"""
RECIPE = """graphrec: 1
name: small
features: [{type: dense, names: [a, b], dim: 4}]
graph: {deep: {block: mlp, in: all, hidden: [8], activation: "squared(3)"}}
tasks: {t: {in: deep, label: t}}
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    module = f"acts_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{module}.py").write_text(PLUGIN.replace("MODULE", module))
    (tmp_path / f"{module}_layers.py").write_text(LAYERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return module


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_conform(name: str) -> None:
    report = check_activation(name, ACTIVATIONS[name], {})
    assert report.passed, report.as_text()


def test_an_activation_of_a_plugin_goes_the_whole_road(plugin: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    (problem,) = check_recipe(path).problems
    assert problem.code == "GR202" and "squared" in problem.message
    library = BUILTIN.with_plugin(plugin)
    compiled = compile_recipe(path, library=library)
    assert f'activation="{plugin}:SQUARED(power=3)"' in compiled.source.text
    module = compiled.module()
    layers = [layer for layer in module.modules() if type(layer).__name__ == "Squared"]
    assert [(layer.power, layer.scale.numel()) for layer in layers] == [(3.0, 8)]
    (deep,) = (node for node in compiled.graph.nodes if node.name == "deep")
    counted = sum(p.numel() for p in module.deep.parameters())
    assert deep.op.perceptron(8, [8]) == counted == 8 * 8 + 8 + 8
    text = json.dumps(recipe_schema(library))
    # the word stands in the schema already, as a setting of a loss
    assert text.count('"squared"') > json.dumps(recipe_schema()).count('"squared"')


def test_a_recipe_names_no_module(plugin: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("squared(3)", f"{plugin}:SQUARED"))
    assert check_recipe(path).errors and plugin not in sys.modules
    assert check_recipe(path, library=BUILTIN.with_plugin(plugin)).errors


@pytest.mark.parametrize(
    ("name", "check"), [("SQUARED", ""), ("WRONG", "learns"), ("ROLLED", "rows")]
)
def test_check_block_tells_what_is_wrong(plugin: str, name: str, check: str, capsys) -> None:
    status = main(["check-block", f"{plugin}:{name}", "--format", "json"])
    told = json.loads(capsys.readouterr().out)
    failed = [finding["check"] for finding in told["findings"] if finding["status"] == "FAILED"]
    assert failed == ([check] if check else []) and status == (2 if check else 0)
    assert main(["check-block", f"{plugin}:{name}", "--param", "nothing=1"]) == 2
