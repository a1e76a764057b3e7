"""HTML: one self-contained page with the drawing, to walk around in; no network, no libraries.

The drawing is that of `svg`, card by card, laid out once for every way to fold it; the page's
script (assets/) only moves, hides and selects what stands there. Everything a recipe says reaches
the script as data, never as text of the program.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib import resources
from typing import Any

from graphrec.graph import Graph
from graphrec.ground.errors import printable
from graphrec.ground.text import count, memory
from graphrec.recipe.model import Recipe
from graphrec.views.describe import Description
from graphrec.views.pictures.details import details, node_kinds
from graphrec.views.pictures.folds import Fold, folds, states, with_closed
from graphrec.views.pictures.scene import Card, Picture, picture
from graphrec.views.pictures.style import changes_sheet, escaped, stylesheet
from graphrec.views.pictures.svg import (
    ARROWS,
    Arranged,
    arranged,
    card_markup,
    card_size,
    label_markup,
    label_of,
    wire_markup,
)

__all__ = ["frame", "html", "page"]

_MANY = 60
"""Cards that a page shows at once; of more, it shows the folded drawing first."""


def html(graph: Graph, description: Description, recipe: Recipe) -> str:
    """The graph as one self-contained page: pan, zoom, search, fold, and a panel about each card.

    `description` brings the numbers (`describe`), `recipe` the lines they come from.
    """
    drawn = picture(graph)
    return page(
        drawn,
        details(graph, description, recipe),
        folds(graph, drawn, node_kinds(recipe)),
        _overview(description),
    )


def frame(text: str, height: int = 560) -> str:
    """A page as an element of another one, such as a notebook's; its script runs in a sandbox."""
    return (
        f'<iframe srcdoc="{escape(text)}" sandbox="allow-scripts" title="graphrec graph" '
        f'style="width:100%;height:{height}px;border:0"></iframe>'
    )


def page(
    drawn: Picture,
    about: Mapping[str, Mapping[str, Any]],
    parts: Sequence[Fold],
    overview: Sequence[Mapping[str, Any]] = (),
) -> str:
    """A page of a picture: `about` each card, what folds (`parts`), and tables of `overview`."""
    every = states(drawn, parts)
    layouts = [arranged(with_closed(drawn, closed)) for closed in every]
    fewest = min(range(len(every)), key=lambda n: len(layouts[n].sizes))
    start = 0 if len(drawn.cards) <= _MANY else fewest
    cards = [*drawn.cards, *(fold.card for fold in parts)]
    data = {
        "title": printable(drawn.title),
        "notes": drawn.notes,
        "cards": [_card(card, about.get(card.key, {})) for card in cards],
        "wires": [
            [wire.source, wire.target, wire.label, wire.relation, wire.change]
            for wire in drawn.wires
        ],
        "folds": [
            {"name": fold.name, "card": fold.card.key, "members": fold.members} for fold in parts
        ],
        "states": [_state(*one) for one in zip(every, layouts, strict=True)],
        "start": start,
        "fewest": fewest,
        "overview": overview,
        "roles": drawn.roles,
        "once": any(card.once for card in drawn.cards),
        "changes": drawn.changes,
        "relations": any(wire.relation for wire in drawn.wires),
    }
    script, style = _asset("page.js"), _asset("page.css")
    sheet = stylesheet() + (changes_sheet() if drawn.changes else "")
    return _FORM.format(
        title=escaped(drawn.title),
        digest=_digest(script),
        style=f"{sheet}\n{style}",
        drawing=_drawing(layouts, start, cards),
        data=_data(data),
        script=script,
    )


_FORM = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
style-src 'unsafe-inline'; script-src 'sha256-{digest}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{drawing}
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def _data(value: Any) -> str:
    """JSON that can't end the element it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    """A file beside this one; it can't change while the program runs."""
    return resources.files(__package__).joinpath("assets", name).read_text("utf-8")


def _card(card: Card, about: Mapping[str, Any]) -> dict[str, Any]:
    width, height = card_size(card)
    data = {
        "key": card.key,
        "role": card.role,
        "title": card.title,
        "kind": card.kind,
        "shape": card.shape,
        "w": width,
        "h": height,
        **about,
    }
    return {**data, "change": card.change} if card.change else data


def _state(closed: Sequence[Fold], layout: Arranged) -> dict[str, Any]:
    """One drawing of the page: which folds are closed, and where each card stands then."""
    boxes = {card.key: [round(x, 1), round(y, 1)] for card, (x, y), _ in layout.cards()}
    return {"closed": [fold.card.key for fold in closed], "boxes": boxes}


def _drawing(layouts: Sequence[Arranged], start: int, cards: Sequence[Card]) -> str:
    """The wires of every drawing, and every card there is; those that do not show have no place."""
    placed = {card.key: (place, size) for card, place, size in layouts[start].cards()}
    nowhere = (0.0, 0.0)
    lines = ['<svg id="drawing" xmlns="http://www.w3.org/2000/svg" role="group">', ARROWS]
    lines.append('<g id="world"><g id="wires">')
    for number, layout in enumerate(layouts):
        lines.append("<g>" if number == start else '<g display="none">')
        for wire, points in layout.wires():
            ends = f' data-s="{escaped(wire.source)}" data-t="{escaped(wire.target)}"'
            lines.append(wire_markup(wire, points, ends))
            if label_of(wire):
                lines.append(label_markup(wire, points, ends))
        lines.append("</g>")
    lines.append('</g><g id="cards">')
    for index, card in enumerate(cards):
        place, size = placed.get(card.key, (nowhere, card_size(card)))
        hidden = "" if card.key in placed else ' display="none"'
        label = escaped(f"{card.title}, {card.kind} {card.shape}")
        more = f' data-card="{index}" tabindex="-1" role="button" aria-label="{label}"{hidden}'
        lines.append(card_markup(card, place, size, more))
    return "\n".join([*lines, "</g></g></svg>"])


def _overview(description: Description) -> list[dict[str, Any]]:
    """Totals and tables, as rows."""
    totals = description.totals()
    rows = [["nodes", str(len(description.nodes))]]
    for key, name, form in (
        ("parameters", "parameters without tables", count),
        ("flops_per_row", "FLOPs per row", count),
        ("table_rows", "rows of tables", count),
        ("table_bytes", "memory of tables", memory),
    ):
        number = totals[key]
        if number is not None:
            rows.append([name, form(number)])
    tables = [
        [
            table.name,
            f"{'rows by the data' if table.rows is None else f'{table.rows:,}'} × {table.dim}",
        ]
        for table in description.tables
    ]
    tables += [[f"kernel of {s}", str(choice)] for s, choice in description.table_kernels.items()]
    sections = [{"title": "In all", "rows": rows}, {"title": "Tables", "rows": tables}]
    remarks = [["", remark] for remark in description.remarks]
    return [part for part in (*sections, {"title": "Remarks", "rows": remarks}) if part["rows"]]
