"""The Python side: load, compile, look, and blocks of one's own."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

import graphrec
from graphrec import BUILTIN, Block, RecipeError, Shape


def test_every_public_name_is_there_and_in_order() -> None:
    assert graphrec.__all__ == sorted([*graphrec._MODULE_OF, "__version__"])
    for name in graphrec.__all__:
        assert getattr(graphrec, name) is not None
    assert set(graphrec.__all__) <= set(dir(graphrec))
    with pytest.raises(AttributeError, match="no attribute 'nowhere'"):
        _ = graphrec.nowhere


def test_load_compile_look(here: Path) -> None:
    model = graphrec.load(here / "small.yaml", overrides=["graph.deep.hidden=[4]"])
    compiled = model.compile()
    assert compiled is model.compile()
    assert model.source == compiled.source.text and "class Small" in model.source
    assert list(model.graph.dag.successors("all")) == ["deep"]
    assert str(model.graph["deep"].shape) == "[B, 4]"
    assert model.recipe.graph["deep"].params["hidden"] == [4]
    assert "-o graph.deep.hidden=[4]" in repr(model)
    assert ET.fromstring(model._repr_svg_()).tag.endswith("svg")
    assert sum(p.numel() for p in model.module().parameters()) > 0


def test_nothing_is_read_before_it_is_needed(here: Path) -> None:
    (here / "broken.yaml").write_text("graphrec: 1\ngraph: {deep: {block: mlpp, in: all}}\n")
    model = graphrec.load(here / "broken.yaml")
    with pytest.raises(RecipeError) as caught:
        _ = model.graph
    assert {problem.code for problem in caught.value.problems} >= {"GR206"}


def test_a_shipped_recipe_by_name() -> None:
    assert graphrec.load("deepfm").recipe.name == "deepfm"


class Doubled(Block):
    """Twice the input."""

    kernels = {"torch": "graphrec.nn:Concat"}

    def infer(self, *xs: Shape) -> Shape:
        return xs[0].resize(sum(x.width for x in xs))

    def args(self, *xs: Shape) -> dict[str, Any]:
        return {}


def test_a_block_of_ones_own(here: Path) -> None:
    import torch

    from graphrec.nn import Batch

    text = (here / "small.yaml").read_text()
    text = text.replace("{block: mlp, in: all, hidden: [8]}", "{block: doubled, in: [all, all]}")
    (here / "mine.yaml").write_text(text)
    model = graphrec.load(here / "mine.yaml", library=BUILTIN.with_blocks(Doubled))
    module = model.module()
    ids = torch.tensor([1, 2, 3])
    output = module(Batch({"user": ids, "item": ids, "price": torch.ones(3, 1)}))
    assert output["probs"].shape == (3,)
