"""Small charts as SVG, light and dark like the graphs: lines over steps, and bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphrec.views.pictures.style import chart_sheet, escaped

__all__ = ["Bars", "Lines", "chart_page", "charts"]

_WIDTH, _HEIGHT = 430.0, 250.0
_LEFT, _TOP, _RIGHT, _BOTTOM = 58.0, 46.0, 14.0, 34.0
_GAP = 22.0
_TICKS = 4
_LEGEND = 6.6
"""Width of a letter of the legend, near enough to set its entries apart."""


@dataclass(frozen=True)
class Lines:
    """Series of points (x, y) by name, drawn as lines, or as dots where `dots` names them."""

    title: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    under: str = "step"
    dots: frozenset[str] = frozenset()
    log: bool = False
    """Whether x goes by its logarithm; then every x is above 0."""


@dataclass(frozen=True)
class Bars:
    """Values by name, largest first as they are given; each at least 0."""

    title: str
    values: Mapping[str, float]


Chart = Lines | Bars


def chart_page(drawn: Sequence[Chart]) -> str:
    """The charts side by side, two in a row, as one self-contained SVG document."""
    rows = math.ceil(len(drawn) / 2) or 1
    columns = min(len(drawn), 2) or 1
    width, height = columns * (_WIDTH + _GAP) + _GAP, rows * (_HEIGHT + _GAP) + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"'
        f' width="{width:.0f}" height="{height:.0f}" role="img">',
        f"<style>{chart_sheet()}</style>",
        f'<rect class="page" width="{width:.0f}" height="{height:.0f}" rx="12"/>',
    ]
    for number, chart in enumerate(drawn):
        x = _GAP + (number % 2) * (_WIDTH + _GAP)
        y = _GAP + (number // 2) * (_HEIGHT + _GAP)
        parts += [f'<g transform="translate({x:.1f} {y:.1f})">', *_chart(chart), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def charts(drawn: Sequence[Chart]) -> list[str]:
    """Each chart as an SVG element for an HTML page that has `chart_sheet` in its style."""
    return [
        f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" width="{_WIDTH:.0f}" role="img">'
        + "".join(_chart(chart))
        + "</svg>"
        for chart in drawn
    ]


def _chart(chart: Chart) -> list[str]:
    head = [f'<text class="title" x="0" y="14">{escaped(chart.title)}</text>']
    return head + (_bars(chart) if isinstance(chart, Bars) else _lines(chart))


def _lines(chart: Lines) -> list[str]:
    points = [p for series in chart.series.values() for p in series if all(map(math.isfinite, p))]
    if not points:
        return [f'<text class="note" x="0" y="{_TOP:.0f}">no numbers</text>']
    (x0, x1), (y0, y1) = (_span([p[axis] for p in points]) for axis in (0, 1))
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    scale = math.log if chart.log else float

    def at(point: tuple[float, float]) -> tuple[float, float]:
        across = (scale(point[0]) - scale(x0)) / (scale(x1) - scale(x0))
        up = (point[1] - y0) / (y1 - y0)
        return _LEFT + across * (right - _LEFT), bottom - up * (bottom - _TOP)

    parts = _grid(y0, y1, lambda y: at((x0, y))[1], right)
    for x, anchor in ((x0, "start"), (x1, "end")):
        place = f'x="{at((x, y0))[0]:.1f}" y="{bottom + 16:.1f}" text-anchor="{anchor}"'
        parts.append(f'<text class="note" {place}>{x:.4g}</text>')
    middle = (_LEFT + right) / 2
    place = f'x="{middle:.1f}" y="{bottom + 16:.1f}" text-anchor="middle"'
    parts.append(f'<text class="note" {place}>{escaped(chart.under)}</text>')
    legend = _LEFT
    for number, (name, series) in enumerate(chart.series.items()):
        placed = [at(p) for p in series if all(map(math.isfinite, p))]
        if name in chart.dots or len(placed) == 1:
            parts += [
                f'<circle class="d{number % 6}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
                for x, y in placed
            ]
        elif placed:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
            parts.append(f'<polyline class="l{number % 6}" points="{path}"/>')
        parts.append(f'<circle class="d{number % 6}" cx="{legend + 4:.1f}" cy="27" r="4"/>')
        parts.append(f'<text class="note" x="{legend + 12:.1f}" y="31">{escaped(name)}</text>')
        legend += 26 + _LEGEND * len(name)
    return parts


def _grid(y0: float, y1: float, height: Callable[[float], float], right: float) -> list[str]:
    parts = []
    for tick in range(_TICKS + 1):
        value = y0 + (y1 - y0) * tick / _TICKS
        y = height(value)
        parts.append(f'<path class="grid" d="M{_LEFT:.1f} {y:.1f} H{right:.1f}"/>')
        parts.append(
            f'<text class="note" x="{_LEFT - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">'
            f"{value:.4g}</text>"
        )
    return parts


def _bars(chart: Bars) -> list[str]:
    largest = max(chart.values.values(), default=0.0) or 1.0
    step = min((_HEIGHT - _TOP) / max(len(chart.values), 1), 30.0)
    parts = []
    for number, (name, value) in enumerate(chart.values.items()):
        y = _TOP + number * step
        width = (_WIDTH - _LEFT) * value / largest
        parts.append(f'<text class="note" x="0" y="{y + 2:.1f}">{escaped(name)} {value:.2f}</text>')
        parts.append(
            f'<rect class="d0" x="0" y="{y + 6:.1f}" width="{width:.1f}" height="7" rx="3"/>'
        )
    return parts


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Least and largest, apart even where all are equal."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) * 0.05 or 0.5), high + (abs(high) * 0.05 or 0.5)
    return low, high
