"""Pictures of a graph, drawn from the graph itself: no forward pass, no Graphviz.

`mermaid` for a README on GitHub, `dot` for Graphviz tools, `svg` for everything else, `html` to
walk around in, `plain` for programs; charts of numbers beside them.
"""

from graphrec.views.pictures.charts import Bars, Lines, chart_page, charts
from graphrec.views.pictures.differences import diff_html, diff_svg
from graphrec.views.pictures.html import frame, html
from graphrec.views.pictures.mermaid import dot, mermaid
from graphrec.views.pictures.scene import plain
from graphrec.views.pictures.style import chart_sheet
from graphrec.views.pictures.svg import svg

__all__ = [
    "Bars",
    "Lines",
    "chart_page",
    "chart_sheet",
    "charts",
    "diff_html",
    "diff_svg",
    "dot",
    "frame",
    "html",
    "mermaid",
    "plain",
    "svg",
]
