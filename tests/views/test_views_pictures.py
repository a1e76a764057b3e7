"""Mermaid, DOT and SVG of a toy graph: golden texts, and the geometry of the drawing."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from graphrec.compiler.pipeline import compile_recipe
from graphrec.graph import Graph, Node, Output, Ref
from graphrec.views.describe import describe
from graphrec.views.pictures import dot, html, mermaid, svg
from graphrec.views.pictures.layering import layers_of
from graphrec.views.pictures.layout import Edge, lay_out
from graphrec.views.pictures.scene import ROLES, picture

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = 'a"]--><script>`$end;%%\n#'


def test_mermaid_is_golden(toy: Graph, golden: Callable[[str, str], None]) -> None:
    golden("views/toy.mmd", mermaid(toy))


def test_dot_is_golden(toy: Graph, golden: Callable[[str, str], None]) -> None:
    golden("views/toy.dot", dot(toy))


def test_svg_is_xml_and_names_every_node_task_and_port(toy: Graph) -> None:
    root = ET.fromstring(svg(toy))
    texts = {element.text for element in root.iter(f"{SVG}text")}
    assert {node.name for node in toy.nodes} <= texts
    assert {output.task for output in toy.outputs} <= texts
    assert {"shop", 'Clicks & "buys" of <one> shop.', "relation", "query, keys"} <= texts
    assert {"triton → torch", "triton"} <= texts


def test_svg_needs_nothing_from_elsewhere(toy: Graph) -> None:
    text = svg(toy).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "http" not in text and "<script" not in text and "<image" not in text
    assert "prefers-color-scheme:dark" in text


def test_every_role_of_a_node_is_drawn() -> None:
    assert {*get_args(get_type_hints(Node)["role"]), "task"} == {*ROLES}
    compiled = compile_recipe(Path(__file__).parents[2] / "recipes" / "rocket_launching.yaml")
    graph = compiled.graph
    page = html(graph, describe(graph), compiled.recipe)
    legend = page[page.index("const MEANING") :][:2000]
    assert all(f"{role}: [" in legend for role in ROLES)
    for role in {node.role for node in graph.nodes}:
        assert f".{role} rect" in svg(graph) and f"classDef {role} " in mermaid(graph)
    assert '"loss.hint"' in dot(graph)


def test_relations_are_marked_everywhere(toy: Graph) -> None:
    assert 'n_tower_click -.->|"relation"| n_rel_buy' in mermaid(toy)
    edge = next(line for line in dot(toy).splitlines() if '"tower.click" -> "rel.buy"' in line)
    assert "dashed" in edge and "relation" in edge
    links = [e for e in ET.fromstring(svg(toy)).iter(f"{SVG}path") if e.get("class") == "link"]
    assert len(links) == 2  # the edge, and its line of the legend


def test_a_fallback_is_told_with_its_reason(toy: Graph) -> None:
    card = next(card for card in picture(toy).cards if card.key == "din")
    assert (card.kernel, card.fallback) == ("triton → torch", True)
    assert "CUDA only" in card.hint


def test_a_node_named_like_a_task_keeps_its_own_card(toy: Graph) -> None:
    renamed = toy.with_nodes(
        replace(node, name="buy") if node.name == "din" else _reading(node, "din", "buy")
        for node in toy.nodes
    )
    assert {"buy", "task buy"} <= {card.key for card in picture(renamed).cards}
    ids = re.findall(r"^  (n_\w+)[(\[{]", mermaid(renamed), re.MULTILINE)
    assert len(ids) == len(set(ids)) == len(renamed.nodes) + 2


def _reading(node: Node, old: str, new: str) -> Node:
    def change(ref: Ref) -> Ref:
        return Ref(new, ref.port) if ref.node == old else ref

    inputs = {
        port: tuple(map(change, value)) if isinstance(value, tuple) else change(value)
        for port, value in node.inputs.items()
    }
    return replace(node, inputs=inputs)


def test_hostile_texts_stay_texts(toy: Graph) -> None:
    outputs = (*toy.outputs[1:], Output(HOSTILE, toy.outputs[0].ref, "binary"))
    graph = replace(toy, outputs=outputs, name=HOSTILE, description=HOSTILE)
    root = ET.fromstring(svg(graph))
    assert " ".join(HOSTILE.split()) in {element.text for element in root.iter(f"{SVG}text")}
    for line in mermaid(graph).splitlines()[4:]:
        assert line.count('"') in (0, 2) and "<script" not in line and "`" not in line
    quoted = re.findall(r'"(?:[^"\\]|\\.)*"', dot(graph))
    assert len(re.sub(r'"(?:[^"\\]|\\.)*"', "", dot(graph)).split('"')) == 1 and quoted


def test_pictures_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "from graphrec.graph import *; from graphrec.ground.shapes import Shape\n"
        "from graphrec.views.pictures import *\n"
        "s = {'': Shape(('B', 4))}\n"
        "n = [Node(c, Group(), {}, s, role='group') for c in 'abcdef']\n"
        "n += [Node(c + '1', Group(), {'x': (Ref(c), Ref('a'))}, s) for c in 'fedcb']\n"
        "g = Graph('g', (), (Output('t', Ref('b1'), 'binary'),)).with_nodes(n)\n"
        "print(svg(g), mermaid(g), dot(g))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(seen) == 1


# ---- layout -----------------------------------------------------------------------------------


def _ladder(width: int, depth: int) -> tuple[dict[str, tuple[float, float]], list[Edge]]:
    sizes = {f"n{row}.{i}": (60.0 + 7 * i, 40.0) for row in range(depth) for i in range(width)}
    edges = [
        Edge(f"n{row}.{i}", f"n{row + 1 + (i * 7 + row) % 3}.{(i * 5 + row) % width}")
        for row in range(depth - 3)
        for i in range(width)
    ]
    return sizes, list(dict.fromkeys(edges))


@pytest.mark.parametrize(("width", "depth"), [(1, 4), (3, 5), (6, 10)])
def test_boxes_never_overlap_and_edges_point_down(width: int, depth: int) -> None:
    sizes, edges = _ladder(width, depth)
    layout = lay_out(sizes, edges)
    boxes = [(*layout.boxes[name], *sizes[name]) for name in sizes]
    for number, (x, y, w, h) in enumerate(boxes):
        assert x >= -0.5 and x + w <= layout.width + 0.5 and y + h <= layout.height + 0.5
        for x2, y2, w2, h2 in boxes[number + 1 :]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
    for points in layout.routes.values():
        assert all(a[1] <= b[1] for a, b in zip(points, points[1:], strict=False))


def test_wires_pass_beside_boxes() -> None:
    sizes, edges = _ladder(6, 10)
    layout = lay_out(sizes, edges)
    for edge, points in layout.routes.items():
        for (x0, y0), (x1, y1) in zip(points[1:-1:2], points[2:-1:2], strict=False):
            for name, (x, y) in layout.boxes.items():
                if name not in (edge.source, edge.target) and x0 == x1 and y0 < y1:
                    inside = x < x0 < x + sizes[name][0] and y0 < y + sizes[name][1] and y < y1
                    assert not inside, f"{edge} goes through {name}"


def test_sources_stand_on_top_and_tasks_at_the_bottom() -> None:
    edges = [Edge("a", "b"), Edge("b", "c"), Edge("a", "t1"), Edge("c", "t2"), Edge("late", "c")]
    names = ["a", "b", "c", "late", "t1", "t2"]
    layers = layers_of(names, edges, frozenset({"a", "late"}), frozenset({"t1", "t2"}))
    assert layers == {"a": 0, "late": 0, "b": 1, "c": 2, "t1": 3, "t2": 3}


def test_a_chain_is_one_straight_line() -> None:
    sizes = {"a": (200.0, 40.0), "b": (60.0, 40.0), "c": (120.0, 40.0)}
    layout = lay_out(sizes, [Edge("a", "b"), Edge("b", "c")])
    centers = {round(x + sizes[name][0] / 2, 3) for name, (x, _) in layout.boxes.items()}
    assert len(centers) == 1
    assert len({x for points in layout.routes.values() for x, _ in points}) == 1


def test_crossings_are_removed() -> None:
    edges = [Edge("a", "z"), Edge("b", "y"), Edge("c", "x")]
    layout = lay_out(dict.fromkeys("abcxyz", (50.0, 30.0)), edges)
    order = {name: x for name, (x, _) in layout.boxes.items()}
    assert sorted("abc", key=order.__getitem__) == [
        {"z": "a", "y": "b", "x": "c"}[name] for name in sorted("xyz", key=order.__getitem__)
    ]


def test_every_wire_arrives_straight_down_at_its_card(toy: Graph) -> None:
    root = ET.fromstring(svg(toy))
    tops = {
        float(match[1])
        for group in root.iter(f"{SVG}g")
        if (match := re.match(r"translate\(\S+ (\S+)\)", group.get("transform", "")))
    }
    wires = [e for e in root.iter(f"{SVG}path") if e.get("marker-end")]
    assert len(wires) == len(picture(toy).wires)
    for wire in wires:
        last = re.search(r" V(\S+)$", wire.get("d", ""))
        assert last is not None and float(last[1]) in tops


def test_a_big_graph_is_drawn_at_once() -> None:
    """200 nodes: no step may be cubic in them."""
    sizes, edges = _ladder(10, 20)
    assert len(lay_out(sizes, edges).boxes) == 200
