"""Horizontal places: wires short and straight, boxes in their order with room between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from graphrec.viz.layers import Key, neighbours

__all__ = ["coordinates"]

_GAP = 30.0
_ROUNDS, _RELAX = 8, 24
_MANY, _FEW_ROUNDS = 1500, 3  # boxes and passing wires; a huge drawing settles less finely
_FAR = 1e9
_STRAIGHT = (1.0, 1.0, 4.0)  # pull of a wire with 0, 1, 2 ends on the way past a layer


def coordinates(
    layers: list[list[Key]], links: Sequence[tuple[Key, Key]], widths: Mapping[Key, float]
) -> dict[Key, float]:
    """Centres that make the wires short and straight, keeping the order and the gaps."""
    pulls: dict[Key, list[tuple[Key, float]]] = {key: [] for layer in layers for key in layer}
    for source, target in links:
        weight = _STRAIGHT[isinstance(source, tuple) + isinstance(target, tuple)]
        pulls[source].append((target, weight))
        pulls[target].append((source, weight))
    center: dict[Key, float] = {}
    gaps = [_gaps(layer, widths) for layer in layers]
    for layer, between in zip(layers, gaps, strict=True):
        start = -sum(between) / 2
        center.update(zip(layer, accumulate(between, initial=start), strict=True))
    runs = _runs(layers, links)
    for _ in range(_ROUNDS if len(center) <= _MANY else _FEW_ROUNDS):
        _relax(layers, pulls, gaps, center)
        _straighten(layers, runs, widths, center)
    return center


def _relax(
    layers: list[list[Key]],
    pulls: Mapping[Key, list[tuple[Key, float]]],
    gaps: list[list[float]],
    center: dict[Key, float],
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
            center.update(zip(layer, _settle(wanted, weight, between), strict=True))


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
    layers: list[list[Key]],
    runs: list[list[Key]],
    widths: Mapping[Key, float],
    center: dict[Key, float],
) -> None:
    """Put every run on one line, or as few lines as the room between its neighbours allows."""
    beside: dict[Key, tuple[Key | None, Key | None]] = {}
    for layer in layers:
        for index, key in enumerate(layer):
            right = layer[index + 1] if index + 1 < len(layer) else None
            beside[key] = (layer[index - 1] if index else None, right)

    def room(key: Key) -> tuple[float, float]:
        left, right = beside[key]
        low, high = -_FAR, _FAR
        if left is not None:
            low = center[left] + (widths[left] + widths[key]) / 2 + _GAP
        if right is not None:
            high = center[right] - (widths[right] + widths[key]) / 2 - _GAP
        return low, high

    for run in runs:
        piece: list[Key] = []
        low, high = -_FAR, _FAR
        for key in run:
            lower, upper = room(key)
            if max(low, lower) > min(high, upper):
                center.update(_line(piece, center, low, high))
                piece, low, high = [], -_FAR, _FAR
            piece.append(key)
            low, high = max(low, lower), min(high, upper)
        center.update(_line(piece, center, low, high))


def _line(
    piece: list[Key], center: Mapping[Key, float], low: float, high: float
) -> dict[Key, float]:
    middle = sum(center[key] for key in piece) / max(len(piece), 1)
    return dict.fromkeys(piece, min(max(middle, low), high))


def _gaps(layer: list[Key], widths: Mapping[Key, float]) -> list[float]:
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
