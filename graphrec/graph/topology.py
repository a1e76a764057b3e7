"""Orders of names that read each other: stable topological order, and cycles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

__all__ = ["find_cycle", "stable_order"]


def stable_order(
    reads: Mapping[str, Sequence[str]], stacks: Mapping[str, tuple[str, ...]]
) -> list[str]:
    """The names in their given order, except that what a name reads stands before it.

    What comes too late is moved to just before its first reader, which is where one looks for it in
    a program. `stacks` are names that are computed at once: all wait for what any of them reads.
    The names must form no cycle (see `find_cycle`).

    >>> stable_order({"top": ["left", "right"], "right": [], "left": ["right"]}, {})
    ['right', 'left', 'top']
    """
    placed: dict[str, None] = {}
    entered: set[str] = set()
    for first in reads:
        waiting = [first]
        while waiting:
            name = waiting[-1]
            members = [member for member in stacks.get(name, (name,)) if member in reads]
            missing = [s for m in members for s in reads[m] if s in reads and s not in placed]
            if name in placed or not missing:
                if name not in placed:
                    placed.update(dict.fromkeys(members))
                waiting.pop()
                continue
            assert name not in entered, "cycles are reported before nodes are ordered"
            entered.add(name)
            waiting.extend(reversed(missing))
    return list(placed)


def find_cycle(edges: Mapping[str, Iterable[str]]) -> list[str] | None:
    """A cycle in `name -> names it reads`, in reading order without the repeat, or None."""
    left = {name: set(sources) & edges.keys() for name, sources in edges.items()}
    while done := {name for name, sources in left.items() if not sources}:
        left = {name: sources - done for name, sources in left.items() if name not in done}
    if not left:
        return None  # nearly always: networkx takes longer to import than a recipe to check
    import networkx

    view = networkx.DiGraph()
    for name in sorted(edges):
        view.add_node(name)
        for source in sorted(set(edges[name])):
            view.add_edge(name, source)
    try:
        return [source for source, _ in networkx.find_cycle(view)]
    except networkx.NetworkXNoCycle:
        return None
