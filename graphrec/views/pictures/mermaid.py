"""Mermaid and DOT: a graph as text that other tools draw."""

from __future__ import annotations

import re

from graphrec.graph import Graph
from graphrec.ground.errors import printable
from graphrec.views.pictures.scene import Card, Picture, picture

__all__ = ["dot", "mermaid"]

_FILL = {
    "group": ("#ddf4ff", "#0969da"),
    "block": ("#f3eefe", "#8250df"),
    "expression": ("#fff8c5", "#9a6700"),
    "relation": ("#ffeff7", "#bf3989"),
    "head": ("#fff1e5", "#bc4c00"),
    "task": ("#dafbe1", "#1a7f37"),
    "loss": ("#ffebe9", "#cf222e"),
}
_INK = "#1f2328"
_RELATION = "#bf3989"


def mermaid(graph: Graph) -> str:
    """The graph as a Mermaid flowchart, as GitHub draws it inside a ```` ```mermaid ```` fence."""
    drawn = picture(graph)
    ids = _identifiers(drawn)
    lines = ["---", f"title: {_quoted(drawn.title)}", "---", "flowchart TD"]
    for card in drawn.cards:
        opening, closing = _MERMAID_SHAPES.get(card.role, ("[", "]"))
        lines.append(f'  {ids[card.key]}{opening}"{_mermaid_label(card)}"{closing}:::{card.role}')
    for wire in drawn.wires:
        arrow = "-.->" if wire.relation else "-->"
        words = [wire.label] if wire.label else []
        label = ", ".join(words + ["relation"] * wire.relation)
        shown = f'|"{_mermaid_text(label)}"|' if label else ""
        lines.append(f"  {ids[wire.source]} {arrow}{shown} {ids[wire.target]}")
    for role in drawn.roles:
        fill, stroke = _FILL[role]
        lines.append(f"  classDef {role} fill:{fill},stroke:{stroke},color:{_INK}")
    once = [ids[card.key] for card in drawn.cards if card.once]
    if once:
        lines.append(f"  classDef once stroke-width:3px\n  class {','.join(once)} once")
    relations = [str(index) for index, wire in enumerate(drawn.wires) if wire.relation]
    if relations:
        lines.append(f"  linkStyle {','.join(relations)} stroke:{_RELATION},stroke-width:2px")
    return "\n".join(lines) + "\n"


_MERMAID_SHAPES = {"group": ("([", "])"), "task": ("([", "])"), "expression": ("{{", "}}")}


def _mermaid_label(card: Card) -> str:
    texts = [card.kind, *card.shape.split(" · ")]
    parts = [f"<b>{_mermaid_text(card.title)}</b>", *(_mermaid_text(text) for text in texts)]
    parts += [f"<i>{_mermaid_text(card.kernel)}</i>"] if card.kernel else []
    return "<br/>".join(part for part in parts if part)


def _mermaid_text(text: str) -> str:
    """Text that can't end a label, start a tag or become Markdown."""
    return re.sub(r"[^\w \[\](),.:+×→…·-]", lambda match: f"#{ord(match[0])};", printable(text))


def _quoted(text: str) -> str:
    """A YAML string: Mermaid reads its title from front matter."""
    return '"' + printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def dot(graph: Graph) -> str:
    """The graph in the DOT language of Graphviz."""
    drawn = picture(graph)
    lines = [
        f"digraph {_dot_text(graph.name)} {{",
        f'  graph [label={_dot_text(drawn.title)}, labelloc="t", fontname="Helvetica"]',
        '  node [shape="box", style="rounded,filled", fontname="Helvetica", fontsize="11"]',
        '  edge [color="#59636e", fontname="Helvetica", fontsize="9"]',
    ]
    for card in drawn.cards:
        fill, stroke = _FILL[card.role]
        text = "\n".join(part for part in (card.title, card.kind, card.shape, card.kernel) if part)
        lines.append(
            f"  {_dot_text(card.key)} [label={_dot_text(text)}, "
            f'fillcolor="{fill}", color="{stroke}", fontcolor="{_INK}"'
            + (', penwidth="3"]' if card.once else "]")
        )
    for wire in drawn.wires:
        label = ", ".join(part for part in (wire.label, "relation" * wire.relation) if part)
        settings = [f"label={_dot_text(label)}"] if label else []
        if wire.relation:
            settings += [f'style="dashed", color="{_RELATION}", fontcolor="{_RELATION}"']
        shown = f" [{', '.join(settings)}]" if settings else ""
        lines.append(f"  {_dot_text(wire.source)} -> {_dot_text(wire.target)}{shown}")
    for rank, role in (("source", "group"), ("sink", "task")):
        keys = [_dot_text(card.key) for card in drawn.cards if card.role == role]
        if keys:
            lines.append(f'  {{ rank="{rank}"; {"; ".join(keys)} }}')
    return "\n".join([*lines, "}"]) + "\n"


def _dot_text(text: str) -> str:
    escaped = printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _identifiers(drawn: Picture) -> dict[str, str]:
    """Identifiers Mermaid accepts: never one of its words (`end`), never the same twice."""
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for card in drawn.cards:
        base = "n_" + re.sub(r"[^A-Za-z0-9]", "_", card.key)
        name, number = base, 2
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name)
        ids[card.key] = name
    return ids
