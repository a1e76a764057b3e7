"""Examples of keys and blocks, and the recipes they become on top of the base of the examples."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

import yaml

from graphrec.graph.graph import Graph, Node
from graphrec.ground.shapes import Shape

__all__ = ["base", "block_example", "block_shapes", "example_recipe", "key_example"]

_HISTORY = "graph: {seen: {block: pooling, in: viewed}, deep: {in: [all, interest, seen]}}\n"
"""Reads the history that some examples declare: what nothing reads is an error."""

_RETRIEVER = """\
tasks: null
groups: {history: null, goods: [item, tags, price]}
graph:
  interest: null
  deep: null
  tower: null
  past: {block: pooling, in: clicked}
  user_vector: {block: mlp, in: [user, past], hidden: [32], out: 16}
  item_vector: {block: mlp, in: goods, hidden: [32], out: 16}
"""
"""The sides that examples of `retrieval` name."""


@cache
def _file(name: str) -> Mapping[str, object]:
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    loaded: Mapping[str, object] = yaml.safe_load(text)
    return loaded


def base() -> str:
    """The recipe that the examples change."""
    return str(_file("examples.yaml")["base"])


def key_example(path: str) -> str:
    """What a recipe says to use a key (`train.schedule.warmup`); empty where there is none."""
    keys = _file("examples.yaml")["keys"]
    assert isinstance(keys, dict)
    return str(keys.get(path, "")).rstrip()


def block_example(name: str) -> str:
    """What a recipe says to use a built-in block; empty for others."""
    return str(_file("block_examples.yaml").get(name, "")).rstrip()


def example_recipe(example: str) -> str:
    """The whole recipe of an example, to lie beside `base.yaml`."""
    text = example + "\n"
    if "graphrec:" not in text:
        text = "graphrec: 1\n" + text
    if "extends:" not in text:
        text += "extends: base.yaml\n"
    if text.startswith("graphrec: 1\nretrieval:"):
        return text + _RETRIEVER
    return text + _HISTORY if "name: viewed" in text else text


def block_shapes(name: str) -> str:
    """Shapes in a block's example: `query [B, 16], keys [B, L, 16] -> [B, 16]`."""
    example = block_example(name)
    if not example:
        return ""
    graph = _graph(example)
    direct = [node for node in graph.nodes if node.label == name]
    nodes = direct[:1] or _expanded(graph, example, name)
    inside = {node.name for node in nodes}
    reads = [(p, ref) for node in nodes for p, ref in node.refs() if ref.node not in inside]
    if direct:
        ports = [f"{port} {graph.shape(ref)}" for port, ref in reads]
    else:  # ports of a composite are gone: what it reads, each once
        ports = [f"{ref} {graph.shape(ref)}" for ref in dict.fromkeys(ref for _, ref in reads)]
    return f"{', '.join(ports)} -> {_outputs(nodes[-1].outputs)}"


def _expanded(graph: Graph, example: str, name: str) -> list[Node]:
    """The nodes that a composite became."""
    nodes = yaml.safe_load(example)["graph"]
    origin = next(
        key for key, spec in nodes.items() if isinstance(spec, dict) and spec.get("block") == name
    )
    return [node for node in graph.nodes if node.origin == origin]


def _outputs(outputs: Mapping[str, Shape]) -> str:
    named = [f"{port} {shape}" if port else str(shape) for port, shape in outputs.items()]
    return ", ".join(named)


def _graph(example: str) -> Graph:
    from graphrec.compiler.pipeline import check_recipe

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "base.yaml").write_text(base(), encoding="utf-8")
        (folder / "recipe.yaml").write_text(example_recipe(example), encoding="utf-8")
        graph = check_recipe(folder / "recipe.yaml").graph
    assert graph is not None, "a test holds that every example can be read"
    return graph
