"""What differs between two recipes, in words and in the picture."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from graphrec.compiler.pipeline import Compiled, compile_recipe
from graphrec.views.describe import describe
from graphrec.views.diff import Change, Difference, compare
from graphrec.views.pictures import diff_html, diff_svg
from graphrec.views.pictures.differences import both

BEFORE = """
graphrec: 1
name: shop
features:
  - {type: id, names: {user: 50, item: 20}, dim: 8}
  - {type: dense, names: price}
graph:
  deep: {block: mlp, in: all, hidden: [16]}
  cross: {block: cross_v2, in: {x0: all, x: all}}
  final: {block: mlp, in: [deep, cross], hidden: [8]}
tasks:
  click: {label: click, in: final}
  buy: {label: buy, in: final}
relations: [click -> buy]
train: {batch: 512}
"""
AFTER = """
graphrec: 1
name: shop
features:
  - {type: id, names: {user: 50, brand: 20}, dim: 8}
  - {type: dense, names: price, transform: log1p}
graph:
  wide: {block: mlp, in: all, hidden: [32], was: deep}
  final: {block: mlp, in: wide, hidden: [8]}
tasks:
  click: {label: click, in: final}
  like: {label: liked, in: final}
train: {batch: 1024}
"""
Write = Callable[..., Path]


@pytest.fixture
def pair(write_recipe: Write) -> tuple[Compiled, Compiled]:
    return (
        compile_recipe(write_recipe(BEFORE, "before.yaml")),
        compile_recipe(write_recipe(AFTER, "after.yaml")),
    )


def compared(pair: tuple[Compiled, Compiled]) -> Difference:
    before, after = pair
    return compare((before.recipe, before.graph), (after.recipe, after.graph))


def kinds(changes: tuple[Change, ...]) -> dict[str, str]:
    return {change.name: change.kind for change in changes}


def test_every_section_tells_what_changed(pair: tuple[Compiled, Compiled]) -> None:
    sections = compared(pair).sections
    assert kinds(sections["features"]) == {"brand": "added", "item": "removed", "price": "changed"}
    assert kinds(sections["tables"]) == {"brand": "added", "item": "removed"}
    assert kinds(sections["tasks"]) == {"buy": "removed", "like": "added"}
    assert kinds(sections["relations"]) == {"click -> buy": "removed"}
    assert kinds(sections["train"]) == {"batch": "changed"}
    nodes = kinds(sections["nodes"])
    assert nodes["cross"] == "removed" and nodes["head.like"] == "added"
    assert nodes["wide"] == nodes["final"] == nodes["all"] == "changed"
    assert "deep" not in nodes, "a node that was: deep is the same node"


def test_as_text(pair: tuple[Compiled, Compiled]) -> None:
    text = compared(pair).as_text()
    for line in (
        r"\+ brand +vocab: 20|\+ brand +name: brand",
        r"- item ",
        r"~ price +transform: none -> log1p",
        r"~ wide +hidden: \[16\] -> \[32\]",
        r" +name: deep -> wide",
        r"~ batch +512 -> 1024",
        r"- click -> buy",
    ):
        assert re.search(rf"^ *({line})", text, re.M), f"{line}\n{text}"
    assert "\033" not in text and "\033[32m+ brand" in compared(pair).as_text(color=True)


def test_as_json(pair: tuple[Compiled, Compiled]) -> None:
    data = json.loads(json.dumps(compared(pair).as_json()))
    assert {"features", "tables", "nodes", "tasks", "relations", "train", "data"} <= set(data)
    (wide,) = [change for change in data["nodes"]["changed"] if change["name"] == "wide"]
    assert wide["settings"]["hidden"] == {"from": "[16]", "to": "[32]"}
    assert data["kernels"] == {"added": [], "removed": [], "changed": []}


def test_nothing_differs(pair: tuple[Compiled, Compiled]) -> None:
    found = compared((pair[0], pair[0]))
    assert found.as_text() == "shop -> shop\nno difference\n"
    drawn = both(pair[0].graph, pair[0].graph, found)
    assert drawn.changes == () and drawn.notes == ("no difference",)


def test_the_picture_has_both_graphs_in_colours(pair: tuple[Compiled, Compiled]) -> None:
    drawn = both(pair[0].graph, pair[1].graph, compared(pair))
    changes = {card.key: card.change for card in drawn.cards}
    assert changes["cross"] == changes["task buy"] == changes["rel.buy"] == "removed"
    assert changes["task like"] == "added" and changes["wide"] == "changed"
    assert changes["task click"] == "" and "deep" not in changes
    wires = {(wire.source, wire.target): wire.change for wire in drawn.wires}
    assert wires["all", "wide"] == "" and wires["wide", "final"] == ""
    assert wires["cross", "final"] == "removed" and wires["final", "head.like"] == "added"
    text = diff_svg(pair[0].graph, pair[1].graph, compared(pair))
    classes = {e.get("class") for e in ET.fromstring(text).iter() if e.get("class")}
    assert {"block removed", "task added", "block changed", "link removed", "wire added"} <= classes


def test_a_turned_wire_makes_no_circle(write_recipe: Write) -> None:
    head = "graphrec: 1\nfeatures:\n  - {type: id, names: {user: 50}, dim: 8}\ngraph:\n"
    one = "  a: {block: mlp, in: all, hidden: [8]}\n  b: {block: mlp, in: a, hidden: [8]}\n"
    two = "  b: {block: mlp, in: all, hidden: [8]}\n  a: {block: mlp, in: b, hidden: [8]}\n"
    first = compile_recipe(
        write_recipe(f"{head}{one}tasks: {{t: {{label: t, in: b}}}}\n", "a.yaml")
    )
    second = compile_recipe(
        write_recipe(f"{head}{two}tasks: {{t: {{label: t, in: a}}}}\n", "b.yaml")
    )
    drawn = both(first.graph, second.graph, compared((first, second)))
    assert any("not drawn" in note for note in drawn.notes)
    assert "</svg>" in diff_svg(first.graph, second.graph, compared((first, second)))


def test_the_page_tells_what_changed_of_a_card(pair: tuple[Compiled, Compiled]) -> None:
    one, two = ((c.graph, describe(c.graph), c.recipe) for c in pair)
    text = diff_html(one, two, compared(pair))
    found = re.search(r'id="data">(.*?)</script>', text, re.S)
    assert found is not None
    data = json.loads(found[1])
    cards = {card["key"]: card for card in data["cards"]}
    assert ["hidden", "[16]", "[32]"] in cards["wide"]["changes"]
    assert cards["cross"]["change"] == "removed" and cards["cross"]["at"].endswith("before.yaml:9")
    assert data["changes"] == ["added", "removed", "changed"]
    assert "Features" in {part["title"].capitalize() for part in data["overview"]}
