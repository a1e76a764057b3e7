"""Expressions too long for a line are written in steps: laid out as ruff does, with equal results."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from graphrec.compiler.codegen.long_statements import write_expression
from graphrec.compiler.codegen.state import State
from graphrec.compiler.pipeline import compile_recipe
from graphrec.graph import Graph, Node, Ref
from graphrec.ground.shapes import Shape
from graphrec.nn import Batch
from graphrec.recipe.expressions import parse_expression

NAMES = ("a", "user_tower", "experts_is_click", "x1", "some_really_quite_long_node_name_here")
CALLS = ("sum({0})", "log1p({0})", "concat({0}, {1}, {0})", "concat({0}, {1})", "dot({0}, {1})")
CALLS += ("clip({0}, 0, 1)", "where({0} > {2}, {1}, {2})")


def expression(rng: random.Random, depth: int) -> str:
    kind = rng.random()
    if depth == 0 or kind < 0.25:
        return rng.choice(NAMES)
    parts = [expression(rng, depth - 1) for _ in range(2)]
    if kind < 0.6:
        left, right = (f"({part})" if rng.random() < 0.3 else part for part in parts)
        return f"{left} {rng.choice('+-*/')} {right}"
    if kind < 0.65:
        return f"-{rng.choice(NAMES)}"
    return rng.choice(CALLS).format(*parts, rng.choice(NAMES))


@pytest.mark.parametrize("seed", range(3))
def test_every_layout_is_ruffs(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    state = State(Graph("toy", (), ()))
    state.writer.line("class Toy:")
    state.writer.line("def forward(self):", 4)
    for number in range(300):
        parsed = parse_expression(expression(rng, rng.randint(1, 5)))
        inputs = {name.ref: Ref(name.ref) for name in parsed.names()}
        target = rng.choice(("y", "some_target_name", "logit_is_click_and_long"))
        node = Node(f"{target}{number}", parsed, inputs, {"": Shape(("B", 4))})
        write_expression(state, node, rng.choice(("[B, 4]", "Jagged [T, 16]")))
    path = tmp_path / "toy.py"
    path.write_text(state.writer.text())
    ruff = [sys.executable, "-m", "ruff", "format", "--diff", "--isolated", str(path)]
    run = subprocess.run(ruff, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_steps_compute_the_same(write_recipe: Callable[[str], Path]) -> None:
    """Long names make steps of what short ones leave on a line."""
    head = "graphrec: 1\nname: toy\nfeatures:\n  - {type: id, names: {i: 10, j: 20}, dim: 4}\n"
    body = (
        "graph:\n  LEFT: {block: linear, in: all, out: 8}\n"
        "  top: 'clip(where(LEFT > all, log1p(LEFT * all) - (LEFT - all) / 3, dot(LEFT, all) * all"
        " - sum(LEFT + all + sigmoid(LEFT))), -9, 9) * (tanh(LEFT) - mean(all) * all) + LEFT'\n"
        "tasks: {t: {label: y, in: top}}\n"
    )
    results = []
    for name in ("left", "a_name_that_is_so_long_that_nothing_fits"):
        compiled = compile_recipe(write_recipe(head + body.replace("LEFT", name)))
        module = compiled.module()
        module.get_submodule(name).load_state_dict(
            {"weight": torch.linspace(-1, 1, 64).view(8, 8), "bias": torch.linspace(0, 1, 8)}
        )
        batch = Batch({"i": torch.arange(9) % 10, "j": torch.arange(9)})
        results.append((compiled.source.text.count("top_step"), module(batch)["logits"]))
    (short, expected), (long, value) = results
    assert short < long and torch.equal(expected, value)
