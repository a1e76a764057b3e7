"""SVG: a self-contained drawing of a graph, readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from graphrec.graph import Graph
from graphrec.views.pictures.layout import Edge, Layout, lay_out
from graphrec.views.pictures.scene import ROLES, Card, Picture, Wire, picture
from graphrec.views.pictures.style import changes_sheet, escaped, stylesheet, text_width

__all__ = [
    "ARROWS",
    "Arranged",
    "arranged",
    "card_markup",
    "card_size",
    "draw",
    "label_markup",
    "label_of",
    "svg",
    "wire_markup",
]

Points = tuple[tuple[float, float], ...]

_MARGIN, _HEADER, _LEGEND = 28.0, 66.0, 52.0
_PAD, _LINE = 14.0, 17.0
_ARRIVE = 9.0  # every wire comes in straight down, so that arrow heads point down


def svg(graph: Graph) -> str:
    """The graph as one self-contained SVG document: features on top, tasks at the bottom."""
    return draw(picture(graph))


@dataclass(frozen=True)
class Arranged:
    """A picture with a place for everything in it."""

    drawn: Picture
    placed: Layout
    sizes: Mapping[str, tuple[float, float]]
    edges: Mapping[Wire, Edge]

    def cards(self) -> Iterator[tuple[Card, tuple[float, float], tuple[float, float]]]:
        """Every card with its top left corner and its size."""
        for card in self.drawn.cards:
            yield card, self.placed.boxes[card.key], self.sizes[card.key]

    def wires(self) -> Iterator[tuple[Wire, Points]]:
        """Every wire with the points it passes, relations last: they lie on top."""
        for wire in sorted(self.drawn.wires, key=lambda wire: wire.relation):
            yield wire, self.placed.routes[self.edges[wire]]


def arranged(drawn: Picture) -> Arranged:
    """Features in the first layer, tasks in the last, and everything between them in order."""
    sizes = {card.key: card_size(card) for card in drawn.cards}
    edges = {wire: Edge(wire.source, wire.target, _kind(wire)) for wire in drawn.wires}
    placed = lay_out(
        sizes,
        list(edges.values()),
        top=[card.key for card in drawn.cards if card.role == "group"],
        bottom=[card.key for card in drawn.cards if card.role == "task"],
    )
    return Arranged(drawn, placed, sizes, edges)


def draw(drawn: Picture) -> str:
    """A picture as one self-contained SVG document."""
    layout = arranged(drawn)
    placed = layout.placed
    header = _HEADER + 16 * (len(drawn.notes) - 1)
    inner = max(
        placed.width,
        text_width(drawn.title, 18, bold=True),
        *(text_width(note, 11) for note in drawn.notes),
        _legend_width(drawn),
    )
    width, height = inner + 2 * _MARGIN, placed.height + header + _LEGEND + 2 * _MARGIN
    shift = _MARGIN + (inner - placed.width) / 2
    size = f'width="{width:.0f}" height="{height:.0f}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width:.0f} {height:.0f}" '
        f'role="img" aria-label="{escaped(drawn.title)}">',
        f"<title>{escaped(drawn.title)}</title>",
        f"<style>{stylesheet()}{changes_sheet() if drawn.changes else ''}</style>",
        ARROWS,
        f'<rect class="page" {size} rx="12"/>',
        _text("title", _MARGIN, _MARGIN + 16, drawn.title),
        *(
            _text("note", _MARGIN, _MARGIN + 36 + 16 * i, note)
            for i, note in enumerate(drawn.notes)
        ),
        f'<g transform="translate({shift:.1f} {_MARGIN + header:.1f})">',
        *(wire_markup(wire, points) for wire, points in layout.wires()),
        *(card_markup(card, place, size) for card, place, size in layout.cards()),
        *(
            label_markup(wire, placed.routes[layout.edges[wire]])
            for wire in drawn.wires
            if label_of(wire)
        ),
        "</g>",
        *_legend(drawn, _MARGIN, height - _MARGIN - 6),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _kind(wire: Wire) -> str:
    return "relation" if wire.relation else ""


# ---- cards ------------------------------------------------------------------------------------


def card_size(card: Card) -> tuple[float, float]:
    """Width and height that the texts of a card need."""
    first = text_width(card.title, 13, bold=True) + 10 + text_width(card.kind, 11)
    second = text_width(card.shape, 11, mono=True)
    if card.kernel:
        second += 10 + text_width(card.kernel, 10) + 12
    lines = 2 if card.shape or card.kernel else 1
    return round(max(first, second, 64.0) + 2 * _PAD, 1), _LINE * lines + 16


def card_markup(
    card: Card, place: tuple[float, float], size: tuple[float, float], more: str = ""
) -> str:
    """One card; `more` are further attributes of its element."""
    (x, y), (width, height) = place, size
    radius = height / 2 if card.role == "task" else 8
    parts = [
        f'<g class="{_classes(card.role, "once" * card.once, card.change)}" '
        f'transform="translate({x:.1f} {y:.1f})"{more}>',
        f"<title>{escaped(card.hint)}</title>" if card.hint else "",
        f'<rect width="{width:.1f}" height="{height:.1f}" rx="{radius:.1f}"/>',
        f'<text class="name" x="{_PAD:.1f}" y="21">{escaped(card.title)}</text>',
        f'<text class="kind" x="{width - _PAD:.1f}" y="21">{escaped(card.kind)}</text>',
        f'<text class="shape" x="{_PAD:.1f}" y="39">{escaped(card.shape)}</text>'
        if card.shape
        else "",
    ]
    if card.kernel:
        wide = text_width(card.kernel, 10) + 12
        state = "fallback" if card.fallback else "fast"
        parts.append(
            f'<g class="{state}" transform="translate({width - _PAD - wide + 4:.1f} 28)">'
            f'<rect width="{wide:.1f}" height="15" rx="7.5"/>'
            f'<text x="{wide / 2:.1f}" y="11">{escaped(card.kernel)}</text></g>'
        )
    return "".join([*parts, "</g>"])


# ---- wires ------------------------------------------------------------------------------------


def _classes(*names: str) -> str:
    return " ".join(name for name in names if name)


def wire_markup(wire: Wire, points: Points, more: str = "") -> str:
    """One wire; `more` are further attributes of its element."""
    path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    *bends, (_, end) = points
    bends[-1] = (bends[-1][0], bends[-1][1] - _ARRIVE)
    for (x0, y0), (x1, y1) in zip(bends, bends[1:], strict=False):
        if abs(x0 - x1) >= 0.5:
            middle = (y0 + y1) / 2
            path.append(f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}")
        elif y0 < y1:
            path.append(f"V{y1:.1f}")
    path.append(f"V{end:.1f}")
    kind = "link" if wire.relation else "wire"
    classes = _classes(kind, wire.change)
    return f'<path class="{classes}" d="{" ".join(path)}" marker-end="url(#{kind}-end)"{more}/>'


def label_of(wire: Wire) -> str:
    """What a wire carries; relations say so."""
    return ", ".join(part for part in (wire.label, "relation" if wire.relation else "") if part)


def label_markup(wire: Wire, points: Points, more: str = "") -> str:
    """What a wire carries, written where it arrives."""
    # Halfway along the last bend: the curve is there exactly between its two ends.
    (x0, y0), (x1, y1) = points[-3], points[-2]
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    kind = "tag link-tag" if wire.relation else "tag"
    return _text(kind, x, y + 3.5, label_of(wire), more)


_ARROW = (
    '<marker id="{0}-end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="10" markerHeight="10" '
    'markerUnits="userSpaceOnUse" orient="auto">'
    '<path class="{0}-end" d="M0 0.6 L8 4 L0 7.4 Z"/></marker>'
)
ARROWS = f"<defs>{_ARROW.format('wire')}{_ARROW.format('link')}</defs>"
"""The heads of wires."""


# ---- legend -------------------------------------------------------------------------


def _legend_items(drawn: Picture) -> list[tuple[str, str]]:
    items = [(role, ROLES[role]) for role in drawn.roles]
    return (
        items
        + ([("group once", "once per request")] if any(c.once for c in drawn.cards) else [])
        + ([("link", "relation edge")] if any(wire.relation for wire in drawn.wires) else [])
        + [(change, change) for change in drawn.changes]
    )


def _legend_width(drawn: Picture) -> float:
    return sum(40 + text_width(text, 11) for _, text in _legend_items(drawn))


def _legend(drawn: Picture, x: float, y: float) -> Iterator[str]:
    for role, text in _legend_items(drawn):
        if role == "link":
            yield f'<path class="link" d="M{x:.1f} {y - 4:.1f} h18"/>'
        else:
            box = f'<rect x="{x:.1f}" y="{y - 10:.1f}" width="18" height="12" rx="4"/>'
            yield f'<g class="{role}">{box}</g>'
        yield _text("note", x + 24, y, text)
        x += 40 + text_width(text, 11)


def _text(kind: str, x: float, y: float, text: str, more: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{more}>{escaped(text)}</text>'
