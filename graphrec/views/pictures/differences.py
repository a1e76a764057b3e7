"""Two graphs in one picture: what was added, removed and changed, in colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from graphrec.graph import Graph
from graphrec.recipe.model import Recipe
from graphrec.views.describe import Description
from graphrec.views.diff import Change, Difference, told
from graphrec.views.pictures.details import details, node_kinds
from graphrec.views.pictures.folds import folds
from graphrec.views.pictures.html import page
from graphrec.views.pictures.scene import Card, Picture, Wire, picture
from graphrec.views.pictures.svg import draw

__all__ = ["both", "diff_html", "diff_svg"]

Ends = tuple[str, str, str, bool]


def diff_svg(before: Graph, after: Graph, difference: Difference) -> str:
    """The difference as one self-contained SVG document."""
    return draw(both(before, after, difference))


def diff_html(
    before: tuple[Graph, Description, Recipe],
    after: tuple[Graph, Description, Recipe],
    difference: Difference,
) -> str:
    """The difference as one self-contained page; its panel tells what changed of each card."""
    drawn = both(before[0], after[0], difference)
    about: dict[str, Mapping[str, Any]] = {**details(*before), **details(*after)}
    for key, change in _changed(difference).items():
        if key in about and change.kind == "changed":
            about[key] = {**about[key], "changes": change.details}
    parts = folds(after[0], drawn, node_kinds(after[2]))
    overview = [
        {
            "title": section,
            "rows": [
                [f"{change.kind} {change.name}", "\n".join(told(change))] for change in changes
            ],
        }
        for section, changes in difference.sections.items()
        if changes
    ]
    return page(drawn, about, parts, overview)


def both(before: Graph, after: Graph, difference: Difference) -> Picture:
    """The picture of `after`, with what only `before` has in it as removed.

    A removed wire that would make the picture go in a circle is left out; a note says so.
    """
    old, new = picture(before), picture(after)
    changed = _changed(difference)
    renamed = {n.was: n.name for n in after.nodes if n.was and n.was not in after.by_name}
    there = {_key(card, renamed) for card in old.cards}
    here = {card.key for card in new.cards}
    cards = [_marked(card, card.key in there, changed.get(card.key)) for card in new.cards]
    cards += [
        replace(card, change="removed") for card in old.cards if _key(card, renamed) not in here
    ]
    known = {_ends(_moved(wire, renamed)) for wire in old.wires}
    wires = [wire if _ends(wire) in known else replace(wire, change="added") for wire in new.wires]
    gone, circles = _removed(old, new, renamed, wires)
    notes = [difference.counts()]
    if circles:
        notes.append(f"{circles} removed wires are not drawn: they would lead upwards")
    title = " → ".join(dict.fromkeys((difference.before, difference.after)))
    return Picture(title, tuple(notes), tuple(cards), (*wires, *gone))


def _changed(difference: Difference) -> dict[str, Change]:
    """Changes by the key of their card."""
    changes = {change.name: change for change in difference.sections["nodes"]}
    return changes | {f"task {change.name}": change for change in difference.sections["tasks"]}


def _marked(card: Card, there: bool, change: Change | None) -> Card:
    if not there:
        return replace(card, change="added")
    if change is None:
        return card
    return replace(card, change="changed", hint="\n".join([card.hint, "", *told(change)]))


def _key(card: Card, renamed: Mapping[str, str]) -> str:
    return renamed.get(card.key, card.key)


def _moved(wire: Wire, renamed: Mapping[str, str]) -> Wire:
    source, target = renamed.get(wire.source, wire.source), renamed.get(wire.target, wire.target)
    return replace(wire, source=source, target=target)


def _ends(wire: Wire) -> Ends:
    return (wire.source, wire.target, wire.label, wire.relation)


def _removed(
    old: Picture, new: Picture, renamed: Mapping[str, str], wires: list[Wire]
) -> tuple[list[Wire], int]:
    """Wires that only `old` has, and how many of them can't be drawn."""
    kept = {_ends(wire) for wire in new.wires}
    below: dict[str, set[str]] = {}
    for wire in wires:
        below.setdefault(wire.source, set()).add(wire.target)
    gone, circles = [], 0
    for wire in (_moved(wire, renamed) for wire in old.wires):
        if _ends(wire) in kept:
            continue
        if _reaches(below, wire.target, wire.source):
            circles += 1
            continue
        below.setdefault(wire.source, set()).add(wire.target)
        gone.append(replace(wire, change="removed"))
    return gone, circles


def _reaches(below: Mapping[str, set[str]], start: str, goal: str) -> bool:
    seen, waiting = {start}, [start]
    while waiting:
        here = waiting.pop()
        if here == goal:
            return True
        fresh = below.get(here, set()) - seen
        seen |= fresh
        waiting.extend(fresh)
    return False
