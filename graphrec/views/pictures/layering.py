"""Which box of a drawing stands in which layer, and in which order there."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Edge", "Key", "initial_order", "layers_of", "neighbours", "steps", "untangle"]

_SWEEPS = 24
_MANY, _FEW_SWEEPS = 1500, 8  # boxes and passing wires; a huge drawing is combed less finely

K = TypeVar("K")
Key = str | tuple[str, str, int]
"""A box's name, or (source, kind, layer) where a long wire passes a layer."""


@dataclass(frozen=True)
class Edge:
    """A wire to route. Edges of one `source` and one `kind` share their way down."""

    source: str
    target: str
    kind: str = ""


def layers_of(
    names: list[str], edges: Sequence[Edge], top: frozenset[str], bottom: frozenset[str]
) -> dict[str, int]:
    sources: dict[str, set[str]] = {name: set() for name in names}
    targets: dict[str, set[str]] = {name: set() for name in names}
    for edge in edges:
        sources[edge.target].add(edge.source)
        targets[edge.source].add(edge.target)
    layer: dict[str, int] = {}
    waiting = list(names)
    while waiting:
        rest = []
        for name in waiting:
            if all(source in layer for source in sources[name]):
                floor = 0 if name in top or not sources[name] else 1
                layer[name] = max((layer[source] + 1 for source in sources[name]), default=floor)
            else:
                rest.append(name)
        assert len(rest) < len(waiting), "a graph has no cycles"
        waiting = rest
    last = max(layer.values(), default=0)
    for name in sorted(layer, key=lambda name: -layer[name]):
        below = [layer[target] for target in targets[name]]
        if name in bottom:
            layer[name] = last
        elif name not in top and below and len(sources[name]) <= 1 and targets[name] <= bottom:
            layer[name] = min(below) - 1  # what only tasks read stands right above them, in a row
        elif name not in top and below and len(sources[name]) < len(targets[name]):
            layer[name] = min(below) - 1
    return layer


def steps(edge: Edge, layer_of: Mapping[str, int]) -> tuple[Key, ...]:
    passed = range(layer_of[edge.source] + 1, layer_of[edge.target])
    return (edge.source, *((edge.source, edge.kind, layer) for layer in passed), edge.target)


def initial_order(
    names: Iterable[str], chains: Mapping[Edge, tuple[Key, ...]], layer_of: Mapping[str, int]
) -> list[list[Key]]:
    layers: list[dict[Key, None]] = [{} for _ in range(max(layer_of.values(), default=0) + 1)]
    for name in names:
        layers[layer_of[name]][name] = None
    for chain in chains.values():
        for key in chain[1:-1]:
            assert isinstance(key, tuple)
            layers[key[2]][key] = None
    return [list(layer) for layer in layers]


def neighbours(links: Sequence[tuple[K, K]]) -> tuple[dict[K, list[K]], dict[K, list[K]]]:
    """What stands above and below each box."""
    above: dict[K, list[K]] = {}
    below: dict[K, list[K]] = {}
    for source, target in links:
        above.setdefault(target, []).append(source)
        below.setdefault(source, []).append(target)
    return above, below


def untangle(layers: list[list[Key]], links: Sequence[tuple[Key, Key]]) -> list[list[Key]]:
    """The layers in an order with few crossings."""
    keys = [key for layer in layers for key in layer]
    number = {key: index for index, key in enumerate(keys)}  # numbers hash faster than keys
    plain = [[number[key] for key in layer] for layer in layers]
    ordered = _untangle(plain, [(number[a], number[b]) for a, b in links])
    return [[keys[index] for index in layer] for layer in ordered]


def _untangle(layers: list[list[int]], links: Sequence[tuple[int, int]]) -> list[list[int]]:
    above, below = neighbours(links)
    best, fewest = [list(layer) for layer in layers], _crossings(layers, below)
    for sweep in range(_SWEEPS if sum(map(len, layers)) <= _MANY else _FEW_SWEEPS):
        down = sweep % 2 == 0
        rows = range(1, len(layers)) if down else range(len(layers) - 2, -1, -1)
        for row in rows:
            fixed = layers[row - 1] if down else layers[row + 1]
            _by_barycentre(layers[row], fixed, above if down else below)
        _swap_neighbours(layers, above, below)
        count = _crossings(layers, below)
        if count < fewest:
            best, fewest = [list(layer) for layer in layers], count
    return best


def _by_barycentre(layer: list[int], fixed: list[int], neighbours: Mapping[int, list[int]]) -> None:
    at = {key: index / max(len(fixed) - 1, 1) for index, key in enumerate(fixed)}
    own = {key: index / max(len(layer) - 1, 1) for index, key in enumerate(layer)}

    def centre(key: int) -> float:
        places = [at[other] for other in neighbours.get(key, []) if other in at]
        return sum(places) / len(places) if places else own[key]

    layer.sort(key=centre)


def _swap_neighbours(
    layers: list[list[int]], above: Mapping[int, list[int]], below: Mapping[int, list[int]]
) -> None:
    at = {key: index for layer in layers for index, key in enumerate(layer)}
    for layer in layers:
        for index in range(len(layer) - 1):
            left, right = layer[index], layer[index + 1]
            now = swapped = 0
            for side in (above, below):
                for a in side.get(left, []):
                    for b in side.get(right, []):
                        now += at[a] > at[b]
                        swapped += at[a] < at[b]
            if swapped < now:
                layer[index], layer[index + 1] = right, left
                at[left], at[right] = index + 1, index


def _crossings(layers: list[list[int]], below: Mapping[int, list[int]]) -> int:
    at = {key: index for layer in layers for index, key in enumerate(layer)}
    count = 0
    for layer in layers:
        ends = [
            at[target] for key in layer for target in sorted(below.get(key, []), key=at.__getitem__)
        ]
        before: list[int] = []
        for end in ends:
            count += len(before) - bisect_right(before, end)
            insort(before, end)
    return count
