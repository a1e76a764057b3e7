"""Variational dropout is of groups with a choice: one feature alone is kept as it is."""

from __future__ import annotations

import pytest

from graphrec.compiler.pipeline import compile_recipe

RECIPE = """
graphrec: 1
name: chosen
features: [{type: id, names: {user: 50, item: 30}, dim: 4}]
groups:
  some: {of: [FEATURES], regularize: {variational_dropout: {lambda: 0.1}}}
  rest: [user, item]
graph: {deep: {block: mlp, in: [some, rest], hidden: [8]}}
tasks: {click: {label: click, in: deep}}
"""


@pytest.mark.parametrize(("features", "drops"), [("user", False), ("user, item", True)])
def test_a_group_of_one_feature_has_none(features: str, drops: bool) -> None:
    compiled = compile_recipe(RECIPE.replace("FEATURES", features))
    module = compiled.module({})
    names = [name for name, _ in module.named_parameters()]
    assert ("some_dropout.logit" in names) is drops
    assert ("some_feature_p_loss" in compiled.source.text) is drops
