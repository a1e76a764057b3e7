"""What every drawing of a graph shows: cards and wires, without any position.

Mermaid, DOT and SVG are three spellings of the same `Picture`, so they never disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from graphrec.blocks.base import Block
from graphrec.graph import Graph, Group, Node, Output, Ref, Side

__all__ = ["CHANGES", "ROLES", "SIDES", "Card", "Picture", "Wire", "picture", "plain", "task_key"]

ROLES = {
    "group": "features",
    "block": "block",
    "expression": "expression",
    "relation": "relation",
    "head": "head",
    "task": "task",
    "loss": "term of the loss",
}
"""Roles of cards, with what the legend calls them."""

CHANGES = ("added", "removed", "changed")
"""How a part of one graph differs from another graph."""

SIDES: Mapping[Side, str] = {
    "request": "once per request",
    "candidates": "for every candidate",
    "both": "in two parts: once per request, and for every candidate",
}
"""How often a node of a model for inference is computed, in words."""

_LONGEST = 34
_MOST_PORTS = 3


@dataclass(frozen=True)
class Card:
    """One box: a node or a task. `kernel` is empty unless there is something to tell.

    `change` is how it differs from another graph: added, removed, changed, or nothing.
    """

    key: str
    role: str
    title: str
    kind: str
    shape: str
    kernel: str = ""
    fallback: bool = False
    once: bool = False
    """In a picture for inference: computed once for all candidates of a request."""
    hint: str = ""
    change: str = ""


@dataclass(frozen=True)
class Wire:
    """One line between two cards; `label` names the ports it carries, if any."""

    source: str
    target: str
    label: str = ""
    relation: bool = False
    change: str = ""


@dataclass(frozen=True)
class Picture:
    """A titled set of cards and wires, in the order of the graph."""

    title: str
    notes: tuple[str, ...]
    cards: tuple[Card, ...]
    wires: tuple[Wire, ...]

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that occur, in the order of the legend."""
        return tuple(role for role in ROLES if any(card.role == role for card in self.cards))

    @property
    def changes(self) -> tuple[str, ...]:
        """The changes that occur, in the order of the legend."""
        present = {card.change for card in self.cards} | {wire.change for wire in self.wires}
        return tuple(change for change in CHANGES if change in present)


def picture(graph: Graph) -> Picture:
    """The cards and wires of `graph`; every task is a card of its own."""
    read: dict[str, dict[str, None]] = {}
    for ref in _all_refs(graph):
        read.setdefault(ref.node, {})[ref.port] = None
    cards = [_card(graph, n, list(read.get(n.name, n.outputs))) for n in graph.nodes]
    cards += [_task(output) for output in graph.outputs]
    wires = [wire for node in graph.nodes for wire in _wires(node)]
    wires += [Wire(output.ref.node, task_key(output)) for output in graph.outputs]
    notes = (*([_cut(graph.description, 110)] if graph.description else []), _counts(graph))
    return Picture(graph.name, notes, tuple(cards), tuple(wires))


def plain(graph: Graph) -> dict[str, Any]:
    """The picture as data: what a program that draws itself needs."""
    return asdict(picture(graph))


def _all_refs(graph: Graph) -> Iterable[Ref]:
    for node in graph.nodes:
        for _, ref in node.refs():
            yield ref
    for output in graph.outputs:
        yield output.ref


def _counts(graph: Graph) -> str:
    parts = [f"{len(graph.nodes)} node{'s' * (len(graph.nodes) != 1)}"]
    if graph.tables:
        parts.append(f"{len(graph.tables)} table{'s' * (len(graph.tables) != 1)}")
    once = sum(graph.side(node) == "request" for node in graph.nodes)
    if graph.sides:
        parts.append(f"{once} once per request" + " (thick outline)" * bool(once))
    parts.append(f"{len(graph.outputs)} task{'s' * (len(graph.outputs) != 1)}")
    return " · ".join(parts)


def _card(graph: Graph, node: Node, ports: list[str]) -> Card:
    choice = node.kernel
    kernel, fallback, why = "", False, ""
    if choice is not None and choice.asked != choice.chosen and choice.asked != "auto":
        kernel, fallback, why = f"{choice.asked} → {choice.chosen}", True, choice.why
    elif choice is not None and choice.chosen != "torch":
        kernel, why = choice.chosen, choice.why
    return Card(
        key=node.name,
        role=node.role,
        title=node.name,
        kind=_kind(node),
        shape=_shape(node, ports),
        kernel=kernel,
        fallback=fallback,
        once=graph.side(node) == "request",
        hint=_hint(graph, node, kernel, why),
    )


def _kind(node: Node) -> str:
    if isinstance(node.op, Group):
        if node.op.keys:
            return f"{len(node.op.keys)} in {node.op.sequence}"
        count = len(node.op.features)
        return f"{count} feature{'s' * (count != 1)}"
    if isinstance(node.op, Block):
        return node.label
    return _cut(node.op.text, _LONGEST)


def _cut(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


def _shape(node: Node, ports: list[str]) -> str:
    if node.role == "group":
        return " · ".join(f"{port} {node.outputs[port]}".strip() for port in _shown(ports))
    shapes = [str(node.outputs[port]) for port in ports]
    different = list(dict.fromkeys(shapes))
    if len(shapes) > 1 and len(different) == 1:
        return f"{len(shapes)} × {different[0]}"
    return " ".join(different)


def _hint(graph: Graph, node: Node, kernel: str, why: str) -> str:
    lines = [f"{node.name}: {node.label}"]
    lines += [f"{port or 'out'} {shape}" for port, shape in node.outputs.items()]
    if kernel:
        lines.append(f"kernel {kernel}" + (f": {why}" if why else ""))
    if side := graph.side(node):
        lines.append(SIDES[side])
    if node.shares:
        lines.append(f"shares the weights of {node.shares}")
    lines += [node.note] if node.note else []
    return "\n".join(lines)


def task_key(output: Output) -> str:
    """The key of a task's card; no node's name has a blank in it."""
    return f"task {output.task}"


def _task(output: Output) -> Card:
    shape = f"[B, {output.classes}]" if output.form == "softmax" else "[B]"
    keys = {"regression": "y", "lognormal": "y", "prob": "probs"}.get(output.form, "logits probs")
    return Card(
        task_key(output), "task", output.task, output.form, shape, hint=f"{output.task}: {keys}"
    )


def _wires(node: Node) -> Iterable[Wire]:
    """One wire per source node; the ports it carries are its label."""
    carried: dict[tuple[str, bool], dict[str, None]] = {}
    for _, ref in node.refs():
        carried.setdefault((ref.node, ref in node.parents), {})[ref.port] = None
    for (source, relation), ports in carried.items():
        shown = [port for port in _shown(ports) if port and not node.name.endswith(f".{port}")]
        label = ", ".join(shown) if len(shown) <= _MOST_PORTS else f"{len(shown)} outputs"
        yield Wire(source, node.name, label, relation)


def _shown(ports: Iterable[str]) -> list[str]:
    """The ports worth a word: a mask always travels with its keys."""
    names = list(ports)
    return [port for port in names if port != "mask" or "keys" not in names]
