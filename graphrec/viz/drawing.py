"""SVG: a self-contained drawing of a graph, readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from graphrec.graph import Graph
from graphrec.viz.layout import Edge, Layout, lay_out
from graphrec.viz.picture import ROLES, Card, Picture, Wire, picture
from graphrec.viz.style import stylesheet, text_width

__all__ = ["svg"]

_MARGIN, _HEADER, _LEGEND = 28.0, 66.0, 52.0
_PAD, _LINE = 14.0, 17.0
_ARRIVE = 9.0  # every wire comes in straight down, so that arrow heads point down


def svg(graph: Graph) -> str:
    """The graph as one self-contained SVG document: features on top, tasks at the bottom."""
    drawn = picture(graph)
    sizes = {card.key: _size(card) for card in drawn.cards}
    edges = {wire: Edge(wire.source, wire.target, _kind(wire)) for wire in drawn.wires}
    placed = lay_out(
        sizes,
        list(edges.values()),
        top=[card.key for card in drawn.cards if card.role == "group"],
        bottom=[card.key for card in drawn.cards if card.role == "task"],
    )
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
        f'role="img" aria-label="{escape(drawn.title)}">',
        f"<title>{escape(drawn.title)}</title>",
        f"<style>{stylesheet()}</style>",
        _ARROWS,
        f'<rect class="page" {size} rx="12"/>',
        _text("title", _MARGIN, _MARGIN + 16, drawn.title),
        *(
            _text("note", _MARGIN, _MARGIN + 36 + 16 * i, note)
            for i, note in enumerate(drawn.notes)
        ),
        f'<g transform="translate({shift:.1f} {_MARGIN + header:.1f})">',
        *(_wire(wire, placed.routes[edges[wire]]) for wire in _back_to_front(drawn)),
        *(_card(card, placed, sizes[card.key]) for card in drawn.cards),
        *(text for wire in drawn.wires for text in _label(wire, placed.routes[edges[wire]])),
        "</g>",
        *_legend(drawn, _MARGIN, height - _MARGIN - 6),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _kind(wire: Wire) -> str:
    return "relation" if wire.relation else ""


def _back_to_front(drawn: Picture) -> list[Wire]:
    return sorted(drawn.wires, key=lambda wire: wire.relation)


# ---- cards ------------------------------------------------------------------------------------


def _size(card: Card) -> tuple[float, float]:
    first = text_width(card.title, 13, bold=True) + 10 + text_width(card.kind, 11)
    second = text_width(card.shape, 11, mono=True)
    if card.kernel:
        second += 10 + text_width(card.kernel, 10) + 12
    lines = 2 if card.shape or card.kernel else 1
    return round(max(first, second, 64.0) + 2 * _PAD, 1), _LINE * lines + 16


def _card(card: Card, placed: Layout, size: tuple[float, float]) -> str:
    (x, y), (width, height) = placed.boxes[card.key], size
    radius = height / 2 if card.role == "task" else 8
    parts = [
        f'<g class="{card.role}" transform="translate({x:.1f} {y:.1f})">',
        f"<title>{escape(card.hint)}</title>" if card.hint else "",
        f'<rect width="{width:.1f}" height="{height:.1f}" rx="{radius:.1f}"/>',
        f'<text class="name" x="{_PAD:.1f}" y="21">{escape(card.title)}</text>',
        f'<text class="kind" x="{width - _PAD:.1f}" y="21">{escape(card.kind)}</text>',
        f'<text class="shape" x="{_PAD:.1f}" y="39">{escape(card.shape)}</text>'
        if card.shape
        else "",
    ]
    if card.kernel:
        wide = text_width(card.kernel, 10) + 12
        state = "fallback" if card.fallback else "fast"
        parts.append(
            f'<g class="{state}" transform="translate({width - _PAD - wide + 4:.1f} 28)">'
            f'<rect width="{wide:.1f}" height="15" rx="7.5"/>'
            f'<text x="{wide / 2:.1f}" y="11">{escape(card.kernel)}</text></g>'
        )
    return "".join([*parts, "</g>"])


# ---- wires ------------------------------------------------------------------------------------


def _wire(wire: Wire, points: tuple[tuple[float, float], ...]) -> str:
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
    return f'<path class="{kind}" d="{" ".join(path)}" marker-end="url(#{kind}-end)"/>'


def _label(wire: Wire, points: tuple[tuple[float, float], ...]) -> Iterator[str]:
    """What a wire carries, written where it arrives; relations say so."""
    text = ", ".join(part for part in (wire.label, "relation" if wire.relation else "") if part)
    if text:
        # Halfway along the last bend: the curve is there exactly between its two ends.
        (x0, y0), (x1, y1) = points[-3], points[-2]
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        kind = "tag link-tag" if wire.relation else "tag"
        yield _text(kind, x, y + 3.5, text)


_ARROW = (
    '<marker id="{0}-end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="10" markerHeight="10" '
    'markerUnits="userSpaceOnUse" orient="auto">'
    '<path class="{0}-end" d="M0 0.6 L8 4 L0 7.4 Z"/></marker>'
)
_ARROWS = f"<defs>{_ARROW.format('wire')}{_ARROW.format('link')}</defs>"


# ---- legend -------------------------------------------------------------------------


def _legend_items(drawn: Picture) -> list[tuple[str, str]]:
    items = [(role, ROLES[role]) for role in drawn.roles]
    return items + (
        [("link", "relation edge")] if any(wire.relation for wire in drawn.wires) else []
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


def _text(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
