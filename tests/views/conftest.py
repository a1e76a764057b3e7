"""A toy graph with every role in it, made by hand."""

from __future__ import annotations

import pytest

from graphrec.blocks.base import Block
from graphrec.graph import Graph, Group, KernelChoice, Node, Output, Ref, Table
from graphrec.ground.shapes import Shape


class MLP(Block):
    """Perceptrons."""

    block_name = "mlp"


class MMoE(Block):
    """Experts under gates."""

    block_name = "mmoe"


class DIN(Block):
    """Attention over a history."""

    block_name = "din"


def floats(*dims: int | str) -> Shape:
    return Shape(("B", *dims))


def _block(name: str, block: Block, inputs: dict, outputs: dict | Shape, **more: object) -> Node:
    shapes = {"": outputs} if isinstance(outputs, Shape) else outputs
    return Node(name, block, inputs, shapes, **more)


@pytest.fixture
def toy() -> Graph:
    """Two tasks, a bundle, a paired group, a fallback, a relation: the shop in small."""
    mask = Shape(("B", "L.history"), "bool")
    keys = floats("L.history", 32)
    nodes = [
        Node(
            "all",
            Group(features=("brand", "item", "user")),
            {},
            {"": floats(48), "fields": floats(3, 16), "linear": floats(1)},
            role="group",
        ),
        Node(
            "seq",
            Group(
                query=("item", "brand"), keys=("history.item", "history.brand"), sequence="history"
            ),
            {},
            {"query": floats(32), "keys": keys, "mask": mask},
            role="group",
        ),
        _block(
            "din",
            DIN(),
            {"query": Ref("seq", "query"), "keys": Ref("seq", "keys"), "mask": Ref("seq", "mask")},
            floats(32),
            kernel=KernelChoice("triton", "torch", "CUDA only"),
        ),
        _block(
            "experts",
            MMoE(),
            {"x": (Ref("all"), Ref("din"))},
            {"click": floats(64), "buy": floats(64)},
            kernel=KernelChoice("triton", "triton"),
        ),
        _block("tower.click", MLP(), {"x": Ref("experts", "click")}, floats(32), origin="tower"),
        _block("tower.buy", MLP(), {"x": Ref("experts", "buy")}, floats(32), origin="tower"),
        _block(
            "rel.buy",
            MLP(),
            {"x": (Ref("tower.buy"), Ref("tower.click"))},
            floats(16),
            role="relation",
            parents=(Ref("tower.click"),),
        ),
        _block("head.click", MLP(), {"x": Ref("tower.click")}, floats(1), role="head"),
        _block(
            "head.buy", MLP(), {"x": (Ref("rel.buy"), Ref("all", "linear"))}, floats(1), role="head"
        ),
    ]
    outputs = (
        Output("buy", Ref("head.buy"), "binary"),
        Output("click", Ref("head.click"), "binary"),
    )
    tables = (Table("user", 1001, 16), Table("item", None, 16), Table("brand", 51, 16))
    empty = Graph("shop", (), outputs, tables=tables, description='Clicks & "buys" of <one> shop.')
    return empty.with_nodes(nodes)
