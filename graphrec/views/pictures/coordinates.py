"""Horizontal places: wires short and straight, boxes in their order with room between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from graphrec.views.pictures.layering import Key, neighbours

__all__ = ["coordinates"]

_GAP = 30.0
_ROUNDS, _RELAX = 8, 24
_MANY, _FEW_ROUNDS = 1500, 2  # boxes and passing wires; a huge drawing settles less finely
_FAR = 1e9
_STRAIGHT = (1.0, 1.0, 4.0)  # pull of a wire with 0, 1, 2 ends on the way past a layer


def coordinates(
    layers: list[list[Key]], links: Sequence[tuple[Key, Key]], widths: Mapping[Key, float]
) -> dict[Key, float]:
    """Centres that make the wires short and straight, keeping the order and the gaps."""
    keys = [key for layer in layers for key in layer]
    number = {key: index for index, key in enumerate(keys)}  # numbers hash faster than keys
    plain = [[number[key] for key in layer] for layer in layers]
    wide = [widths[key] for key in keys]
    pulls: list[list[tuple[int, float]]] = [[] for _ in keys]
    for source, target in links:
        weight = _STRAIGHT[isinstance(source, tuple) + isinstance(target, tuple)]
        pulls[number[source]].append((number[target], weight))
        pulls[number[target]].append((number[source], weight))
    center = [0.0] * len(keys)
    gaps = [_gaps(layer, wide) for layer in plain]
    for layer, between in zip(plain, gaps, strict=True):
        start = -sum(between) / 2
        _put(center, layer, accumulate(between, initial=start))
    runs = [[number[key] for key in run] for run in _runs(layers, links)]
    for _ in range(_ROUNDS if len(center) <= _MANY else _FEW_ROUNDS):
        _relax(plain, pulls, gaps, center)
        _straighten(plain, runs, wide, center)
    return dict(zip(keys, center, strict=True))


def _put(center: list[float], layer: list[int], places: Iterable[float]) -> None:
    for key, place in zip(layer, places, strict=True):
        center[key] = place


def _relax(
    layers: list[list[int]],
    pulls: list[list[tuple[int, float]]],
    gaps: list[list[float]],
    center: list[float],
) -> None:
    # The inner loop of every drawing: what does not change is not computed again.
    weights = [[sum(w for _, w in pulls[key]) + 1e-3 for key in layer] for layer in layers]
    rows = list(zip(layers, weights, gaps, strict=True))
    for step in range(_RELAX):
        for layer, weight, between in rows if step % 2 == 0 else reversed(rows):
            wanted = []
            for key, own in zip(layer, weight, strict=True):
                pull = 0.0
                for other, w in pulls[key]:
                    pull += center[other] * w
                wanted.append((pull + center[key] * 1e-3) / own)
            _put(center, layer, _settle(wanted, weight, between))


def _runs(layers: list[list[Key]], links: Sequence[tuple[Key, Key]]) -> list[list[Key]]:
    """Paths that should be one vertical line: long wires, and boxes with nothing else around."""
    above, below = neighbours(links)
    following = {
        source: target
        for source, target in links
        if (isinstance(source, tuple) and isinstance(target, tuple))
        or len(below[source]) == len(above[target]) == 1
    }
    followers = set(following.values())
    runs = []
    starts = [key for layer in layers for key in layer if key not in followers]
    for key in starts:
        run = [key]
        while run[-1] in following:
            run.append(following[run[-1]])
        runs.append(run)
    return runs


def _straighten(
    layers: list[list[int]],
    runs: list[list[int]],
    widths: list[float],
    center: list[float],
) -> None:
    """Put every run on one line, or as few lines as the room between its neighbours allows."""
    beside: dict[int, tuple[int | None, int | None]] = {}
    for layer in layers:
        for index, key in enumerate(layer):
            right = layer[index + 1] if index + 1 < len(layer) else None
            beside[key] = (layer[index - 1] if index else None, right)

    def room(key: int) -> tuple[float, float]:
        left, right = beside[key]
        low, high = -_FAR, _FAR
        if left is not None:
            low = center[left] + (widths[left] + widths[key]) / 2 + _GAP
        if right is not None:
            high = center[right] - (widths[right] + widths[key]) / 2 - _GAP
        return low, high

    for run in runs:
        piece: list[int] = []
        low, high = -_FAR, _FAR
        for key in run:
            lower, upper = room(key)
            if max(low, lower) > min(high, upper):
                _line(piece, center, low, high)
                piece, low, high = [], -_FAR, _FAR
            piece.append(key)
            low, high = max(low, lower), min(high, upper)
        _line(piece, center, low, high)


def _line(piece: list[int], center: list[float], low: float, high: float) -> None:
    middle = sum(center[key] for key in piece) / max(len(piece), 1)
    for key in piece:
        center[key] = min(max(middle, low), high)


def _gaps(layer: list[int], widths: list[float]) -> list[float]:
    return [(widths[a] + widths[b]) / 2 + _GAP for a, b in zip(layer, layer[1:], strict=False)]


def _settle(wanted: list[float], weights: list[float], gaps: list[float]) -> list[float]:
    """The places nearest to `wanted` (weighted least squares) that are at least `gaps` apart.

    Pool adjacent violators on the places minus the gaps before them.

    >>> _settle([0.0, 0.0], [1.0, 1.0], [10.0])
    [-5.0, 5.0]
    """
    before = [0.0]
    for gap in gaps:
        before.append(before[-1] + gap)
    pools: list[tuple[float, float, int]] = []  # mean, weight, members
    for place, weight, offset in zip(wanted, weights, before, strict=True):
        mean, count = place - offset, 1
        while pools and pools[-1][0] > mean:
            other, other_weight, others = pools.pop()
            mean = (mean * weight + other * other_weight) / (weight + other_weight)
            weight, count = weight + other_weight, count + others
        pools.append((mean, weight, count))
    flat = [mean for mean, _, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(flat, before, strict=True)]
