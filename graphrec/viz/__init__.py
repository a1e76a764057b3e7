"""Pictures of a graph, drawn from the graph itself: no forward pass, no Graphviz.

`mermaid` for a README on GitHub, `dot` for Graphviz tools, `svg` for everything else, `html` to
walk around in, `plain` for programs.
"""

from graphrec.viz.differences import diff_html, diff_svg
from graphrec.viz.drawing import svg
from graphrec.viz.html import frame, html
from graphrec.viz.picture import plain
from graphrec.viz.text import dot, mermaid

__all__ = ["diff_html", "diff_svg", "dot", "frame", "html", "mermaid", "plain", "svg"]
