"""`was: old_name`: weights saved under a node's former name find their place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from graphrec.compiler.pipeline import compile_recipe

HEAD = "graphrec: 1\nname: toy\nfeatures: [{type: id, names: {a: 10, b: 20}, dim: 4}]\n"
TASKS = "tasks: {x: {label: x, in: NODE}, y: {label: y, in: NODE}}\n"


def test_weights_of_copies_are_found(write_recipe: Callable[..., Path]) -> None:
    graph = "graph: {NODE: {block: mlp, in: all, each: tasks, hidden: [3]WAS}}\n"
    texts = {
        "old": (graph + TASKS).replace("NODE", "tower").replace("WAS", ""),
        "new": (graph + TASKS).replace("NODE", "top").replace("WAS", ", was: tower"),
    }
    old, new = (
        compile_recipe(write_recipe(HEAD + text, f"{name}.yaml")) for name, text in texts.items()
    )
    saved = {key: torch.randn_like(value) for key, value in old.module().state_dict().items()}
    module = new.module()
    module.load_state_dict(dict(saved))
    assert module.state_dict()["top_x.layers.0.weight"].equal(saved["tower_x.layers.0.weight"])
    module.load_state_dict(module.state_dict())
    assert 'renamed(self, {"top_x": "tower_x", "top_y": "tower_y"})' in new.source.text
