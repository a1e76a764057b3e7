"""Positions for a layered drawing: layers, order within them, coordinates, routes of the wires.

The four classic steps (Sugiyama et al., 1981): longest-path layers; long wires cut at every layer
they pass; fewer crossings by barycentres and swaps; coordinates by least squares. All ties go by
the order of the input, so a graph always gets the same drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from graphrec.views.pictures.coordinates import coordinates
from graphrec.views.pictures.layering import Edge, Key, initial_order, layers_of, steps, untangle

__all__ = ["Edge", "Layout", "Size", "lay_out"]

Size = tuple[float, float]
Point = tuple[float, float]

_GAP, _PASS = 54.0, 18.0  # between layers; width of a wire that passes one


@dataclass(frozen=True)
class Layout:
    """Top left corners of the boxes, the points every edge passes, and the size of it all.

    The points of an edge come in pairs (enter, leave) with vertical lines between the two.
    """

    boxes: Mapping[str, Point]
    routes: Mapping[Edge, tuple[Point, ...]]
    width: float
    height: float


def lay_out(
    sizes: Mapping[str, Size],
    edges: Sequence[Edge],
    *,
    top: Iterable[str] = (),
    bottom: Iterable[str] = (),
) -> Layout:
    """Place boxes of the given (width, height) so that edges point down.

    `top` boxes stand in the first layer, `bottom` boxes in the last. Edges must form no cycle.
    """
    layer_of = layers_of(list(sizes), edges, frozenset(top), frozenset(bottom))
    chains = {edge: steps(edge, layer_of) for edge in edges}
    layers = initial_order(sizes, chains, layer_of)
    pairs = (pair for chain in chains.values() for pair in zip(chain, chain[1:], strict=False))
    links = list(dict.fromkeys(pairs))
    layers = untangle(layers, links)
    widths = {
        key: sizes[key][0] if isinstance(key, str) else _PASS for layer in layers for key in layer
    }
    centers = coordinates(layers, links, widths)
    return _place(sizes, layers, centers, widths, chains)


def _place(
    sizes: Mapping[str, Size],
    layers: list[list[Key]],
    centers: Mapping[Key, float],
    widths: Mapping[Key, float],
    chains: Mapping[Edge, tuple[Key, ...]],
) -> Layout:
    left = min((centers[key] - widths[key] / 2 for layer in layers for key in layer), default=0.0)
    right = max((centers[key] + widths[key] / 2 for layer in layers for key in layer), default=0.0)
    bands: dict[Key, tuple[float, float]] = {}  # top and bottom of the layer a key stands in
    y = 0.0
    for layer in layers:
        height = max((sizes[key][1] for key in layer if isinstance(key, str)), default=0.0)
        bands.update(dict.fromkeys(layer, (y, y + height)))
        y += height + _GAP
    boxes = {}
    for name, (width, height) in sizes.items():
        top, bottom = bands[name]
        boxes[name] = (centers[name] - left - width / 2, (top + bottom - height) / 2)
    routes = {}
    for edge, arrival in _arrivals(sizes, centers, chains).items():
        chain = chains[edge]
        points = []
        for key in chain[:-1]:
            points += [(centers[key] - left, edge_y) for edge_y in bands[key]]
        points[0] = (points[0][0], boxes[edge.source][1] + sizes[edge.source][1])
        x = arrival - left
        points += [(x, bands[edge.target][0]), (x, boxes[edge.target][1])]
        routes[edge] = tuple(points)
    return Layout(boxes, routes, right - left, max(y - _GAP, 0.0))


def _arrivals(
    sizes: Mapping[str, Size], centers: Mapping[Key, float], chains: Mapping[Edge, tuple[Key, ...]]
) -> dict[Edge, float]:
    """Where each edge meets the top of its target: side by side, in the order they come from."""
    coming: dict[str, list[Edge]] = {}
    for edge in chains:
        coming.setdefault(edge.target, []).append(edge)
    places = {}
    for target, edges in coming.items():
        edges.sort(key=lambda edge: centers[chains[edge][-2]])
        step = min(22.0, sizes[target][0] * 0.7 / len(edges))
        for index, edge in enumerate(edges):
            places[edge] = centers[target] + (index - (len(edges) - 1) / 2) * step
    return places
