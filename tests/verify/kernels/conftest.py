"""A small recipe with a history, tables, and one block of each kind of kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from graphrec.blocks.library import BUILTIN, Library

Write = Callable[..., Path]

RECIPE = """\
graphrec: 1
name: tuned
features:
  - {type: id, names: {user_id: 100, item_id: 50}, dim: 16}
  - {type: id, names: {tags: 20}, dim: 16, pool: mean}
  - {type: dense, names: price}
  - {type: sequence, name: clicks, of: [item_id], max_len: 6}
graph:
  kept: {block: BLOCK, in: all}
  twin: {block: BLOCK, in: all}
  h: {block: pooling, in: clicks}
  top: {block: mlp, in: [kept, twin, h], hidden: [8]}
tasks: {t: {label: y, in: top}}
train: {batch: 64}
"""


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    """The built-in blocks and those of tune_blocks."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import tune_blocks

    return BUILTIN.with_blocks(tune_blocks.Scale, tune_blocks.Timed, tune_blocks.Quick)


@pytest.fixture
def recipe(write_recipe: Write) -> Callable[[str], Path]:
    """`recipe("scale")`: a recipe whose nodes `kept` and `twin` are that block."""
    return lambda block: write_recipe(RECIPE.replace("BLOCK", block))
