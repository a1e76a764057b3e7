"""What of a picture folds into one card: composites, copies of `each` and `parallel`, repeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from graphrec.graph import Graph, Node
from graphrec.views.pictures.scene import Card, Picture, Wire

__all__ = ["Fold", "folds", "states", "with_closed"]

_STATES, _CARDS = 32, 60
"""So many drawings of one page are laid out, one for each set of closed folds; more of a picture of
so many cards at most. A page holds them all, and a person who folds waits for none of them."""


@dataclass(frozen=True)
class Fold:
    """Cards that came from one node of the recipe, and the one card that stands for them."""

    name: str
    members: tuple[str, ...]
    card: Card


def folds(graph: Graph, drawn: Picture, kinds: Mapping[str, str]) -> tuple[Fold, ...]:
    """What can be folded, outer before inner; `kinds` are the blocks the recipe names, by node.

    Left out is what would make the drawing go in a circle: copies that read each other by way of
    other nodes.
    """
    cards = {card.key: card for card in drawn.cards}
    nodes_by_name: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.role == "group" or node.name not in cards:
            continue
        for name in _around(node):
            nodes_by_name.setdefault(name, []).append(node.name)
    seen: set[tuple[str, ...]] = set()
    parts = []
    for name in sorted(nodes_by_name, key=lambda name: (name.count("."), name)):
        members = tuple(nodes_by_name[name])
        if len(members) < 2 or members in seen or _circles(drawn, {name: members}):
            continue
        seen.add(members)
        inside = [cards[member] for member in members]
        block = kinds.get(name, kinds.get(name.partition(".")[0], ""))
        parts.append(Fold(name, members, _card(name, inside, block)))
    return tuple(parts)


def states(drawn: Picture, parts: Sequence[Fold]) -> tuple[tuple[Fold, ...], ...]:
    """The sets of folds to close, each a drawing of its own: none of them comes first.

    Every set that goes together while there are few. Of many: all that go, all but one of them,
    and in a small picture each alone.
    """
    sets: list[tuple[Fold, ...]] = [()]
    for fold in parts:
        sets += [(*one, fold) for one in sets if _goes_with(drawn, one, fold)]
        if len(sets) > _STATES:
            break
    if len(sets) > _STATES:
        outermost = _outermost(drawn, parts)
        sets = [(), outermost]
        for left in outermost:
            sets.append(_outermost(drawn, [fold for fold in parts if fold is not left]))
        if len(drawn.cards) <= _CARDS:
            sets += [(fold,) for fold in parts]
    return tuple(dict.fromkeys(sets[: 2 * _STATES]))


def _outermost(drawn: Picture, parts: Sequence[Fold]) -> tuple[Fold, ...]:
    """As many folds as go together, those around others first."""
    closed: tuple[Fold, ...] = ()
    for fold in parts:
        if _goes_with(drawn, closed, fold):
            closed = (*closed, fold)
    return closed


def _goes_with(drawn: Picture, closed: Sequence[Fold], fold: Fold) -> bool:
    """Whether it is in none of those folds, nor around one, and makes no circle with them."""
    apart = all(set(fold.members).isdisjoint(other.members) for other in closed)
    return apart and not _circles(drawn, {f.name: f.members for f in (*closed, fold)})


def with_closed(drawn: Picture, closed: Sequence[Fold]) -> Picture:
    """The picture with one card for each of these folds."""
    stands = {member: fold.card.key for fold in closed for member in fold.members}
    cards: dict[str, Card] = {}
    for card in drawn.cards:
        key = stands.get(card.key, card.key)
        cards[key] = next((f.card for f in closed if f.card.key == key), card)
    return replace(drawn, cards=tuple(cards.values()), wires=_merged(drawn, stands))


def _around(node: Node) -> Iterable[str]:
    """The recipe's node, then each longer part of the name: `tower`, `tower.ctr`."""
    origin = node.origin or node.name
    if not node.name.startswith(f"{origin}."):
        return (origin,)
    parts = node.name.removeprefix(f"{origin}.").split(".")
    return (origin, *(".".join([origin, *parts[:number]]) for number in range(1, len(parts))))


def _card(name: str, inside: Sequence[Card], block: str) -> Card:
    kinds = Counter(card.kind for card in inside)
    alike = len(kinds) == 1
    kind = f"{len(inside)} × {inside[0].kind}" if alike else f"{block or 'parts'} · {len(inside)}"
    shapes = dict.fromkeys(card.shape for card in inside)
    changes = {card.change for card in inside}
    return Card(
        key=f"fold {name}",
        role=inside[-1].role,
        title=name,
        kind=kind,
        shape=next(iter(shapes)) if len(shapes) == 1 else inside[-1].shape,
        kernel=inside[0].kernel if len({card.kernel for card in inside}) == 1 else "",
        fallback=any(card.fallback for card in inside),
        once=all(card.once for card in inside),
        hint="\n".join([f"{name}: {len(inside)} nodes", *(card.title for card in inside)]),
        change=changes.pop() if len(changes) == 1 else "changed",
    )


def _merged(drawn: Picture, stands: Mapping[str, str]) -> tuple[Wire, ...]:
    merged: dict[tuple[str, str, bool], Wire] = {}
    for wire in drawn.wires:
        source = stands.get(wire.source, wire.source)
        target = stands.get(wire.target, wire.target)
        if source == target:
            continue
        key = (source, target, wire.relation)
        there = merged.get(key)
        label = "" if there is not None and there.label != wire.label else wire.label
        change = "" if there is not None and there.change != wire.change else wire.change
        merged[key] = Wire(source, target, label, wire.relation, change)
    return tuple(merged.values())


def _circles(drawn: Picture, groups: Mapping[str, Sequence[str]]) -> bool:
    """Whether closing these groups makes wires go in a circle; linear in the picture."""
    stands = {member: f"fold {name}" for name, members in groups.items() for member in members}
    below: dict[str, set[str]] = {stands.get(card.key, card.key): set() for card in drawn.cards}
    for wire in drawn.wires:
        source, target = stands.get(wire.source, wire.source), stands.get(wire.target, wire.target)
        if source != target:
            below[source].add(target)
    waiting = Counter(target for targets in below.values() for target in targets)
    ready = [key for key in below if not waiting[key]]
    done = 0
    while ready:
        done += 1
        for target in below[ready.pop()]:
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return done < len(below)
