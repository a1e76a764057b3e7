"""The looks of the SVG: colours for light and dark pages, fonts, and how wide a text is."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from graphrec.ground.errors import printable
from graphrec.views.pictures.scene import ROLES

__all__ = ["changes_sheet", "chart_sheet", "escaped", "stylesheet", "text_width"]

_SANS = "-apple-system, 'Segoe UI', Helvetica, Arial, 'Liberation Sans', sans-serif"
_MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace"


@dataclass(frozen=True)
class _Palette:
    page: str
    frame: str
    ink: str
    muted: str
    wire: str
    accent: str
    warn: str
    good: str
    bad: str
    roles: dict[str, tuple[str, str]]
    """Fill and outline by role."""


_LIGHT = _Palette(
    page="#ffffff",
    frame="#d1d9e0",
    ink="#1f2328",
    muted="#59636e",
    wire="#9aa4af",
    accent="#bf3989",
    warn="#9a6700",
    good="#1a7f37",
    bad="#cf222e",
    roles={
        "group": ("#ddf4ff", "#54aeff"),
        "block": ("#f8f5ff", "#b794f4"),
        "expression": ("#fff8c5", "#d4a72c"),
        "relation": ("#ffeff7", "#ff80c8"),
        "head": ("#fff1e5", "#fb8f44"),
        "task": ("#dafbe1", "#4ac26b"),
        "loss": ("#ffebe9", "#ff8182"),
    },
)
_DARK = _Palette(
    page="#0d1117",
    frame="#3d444d",
    ink="#f0f6fc",
    muted="#9198a1",
    wire="#656c76",
    accent="#f778ba",
    warn="#d29922",
    good="#3fb950",
    bad="#f85149",
    roles={
        "group": ("#0e2747", "#388bfd"),
        "block": ("#211b38", "#8957e5"),
        "expression": ("#2e2410", "#bb8009"),
        "relation": ("#3b1530", "#db61a2"),
        "head": ("#36200f", "#db6d28"),
        "task": ("#0f2f1b", "#2ea043"),
        "loss": ("#3c1618", "#da3633"),
    },
)


def stylesheet() -> str:
    """CSS of the drawing; dark colours where the reader's page is dark."""
    fixed = (
        f"text{{font-family:{_SANS}}}"
        ".title{font-size:18px;font-weight:600}.note{font-size:11px}"
        ".name{font-size:13px;font-weight:600}.kind{font-size:11px;text-anchor:end}"
        f".shape{{font-family:{_MONO};font-size:11px}}"
        "g.once>rect{stroke-width:2.8}"
        ".wire,.link{fill:none;stroke-width:1.4}.link{stroke-width:1.8;stroke-dasharray:5 4}"
        ".tag{stroke-width:4px;stroke-linejoin:round;paint-order:stroke}"
        ".tag,.fallback text,.fast text{font-size:10px;text-anchor:middle}"
    )
    return f"{fixed}{_colors(_LIGHT)}@media (prefers-color-scheme:dark){{{_colors(_DARK)}}}"


def chart_sheet() -> str:
    """CSS of charts: six colours of series, those of the roles' outlines."""
    fixed = (
        f"text{{font-family:{_SANS}}}.title{{font-size:14px;font-weight:600}}"
        ".note{font-size:11px}polyline{fill:none;stroke-width:1.8;stroke-linejoin:round}"
    )
    light, dark = _chart_colors(_LIGHT), _chart_colors(_DARK)
    return f"{fixed}{light}@media (prefers-color-scheme:dark){{{dark}}}"


def _chart_colors(palette: _Palette) -> str:
    outlines = [palette.roles[role][1] for role in ("group", "head", "task", "block", "loss")]
    series = "".join(
        f".l{number}{{stroke:{color}}}.d{number}{{fill:{color}}}"
        for number, color in enumerate([*outlines, palette.accent])
    )
    return (
        f".page{{fill:{palette.page};stroke:{palette.frame}}}.title{{fill:{palette.ink}}}"
        f".note{{fill:{palette.muted}}}.grid{{stroke:{palette.frame};stroke-width:.6}}{series}"
    )


def changes_sheet() -> str:
    """CSS of what differs between two graphs: green, red and amber outlines."""
    light, dark = _change_colors(_LIGHT), _change_colors(_DARK)
    return (
        "g.added>rect,g.removed>rect,g.changed>rect{stroke-width:2.6}"
        ".removed{opacity:.75}g.removed>rect,path.removed{stroke-dasharray:7 5}"
        "path.added,path.removed{stroke-width:2.2}"
        'g[class="added"]>rect,g[class="removed"]>rect,g[class="changed"]>rect{fill:none}'
        f"{light}@media (prefers-color-scheme:dark){{{dark}}}"
    )


def _change_colors(palette: _Palette) -> str:
    colors = {"added": palette.good, "removed": palette.bad, "changed": palette.warn}
    return "".join(
        f"g.{change}>rect{{stroke:{color}}}path.{change}{{stroke:{color}}}"
        for change, color in colors.items()
    )


def _colors(palette: _Palette) -> str:
    rules = [
        f".page{{fill:{palette.page};stroke:{palette.frame}}}",
        f".title,.name{{fill:{palette.ink}}}",
        f".note,.kind,.shape,.tag{{fill:{palette.muted}}}.tag{{stroke:{palette.page}}}",
        f".wire{{stroke:{palette.wire}}}.wire-end{{fill:{palette.wire}}}",
        f".link{{stroke:{palette.accent}}}.link-end,.link-tag{{fill:{palette.accent}}}",
    ]
    for role in ROLES:
        fill, outline = palette.roles[role]
        rules.append(f".{role} rect{{fill:{fill};stroke:{outline}}}")
    # After the roles: the badge of a kernel stands inside a card and has no fill of its own.
    for state, color in (("fallback", palette.warn), ("fast", palette.good)):
        rules.append(f".{state} text{{fill:{color}}}.{state} rect{{fill:none;stroke:{color}}}")
    return "".join(rules)


_NARROW, _WIDE = re.compile(r"[iljtfI.,:;'|!()\[\] ]"), re.compile(r"[mwMW@%→]")


def escaped(text: str) -> str:
    """Text between tags or in an attribute; XML has no control characters at all."""
    return html.escape(printable(text))


def text_width(text: str, size: float, *, bold: bool = False, mono: bool = False) -> float:
    """About how wide `text` is, a little generous: no font is at hand to ask."""
    if mono:
        return len(text) * size * 0.61
    narrow, wide = len(_NARROW.findall(text)), len(_WIDE.findall(text))
    plain = len(text) - narrow - wide
    return (narrow * 0.32 + wide * 0.88 + plain * 0.575) * size * (1.07 if bold else 1.0)
