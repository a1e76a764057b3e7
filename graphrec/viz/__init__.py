"""Pictures of a graph, drawn from the graph itself: no forward pass, no Graphviz.

`mermaid` for a README on GitHub, `dot` for Graphviz tools, `svg` for everything else, `plain` for
programs.
"""

from graphrec.viz.drawing import svg
from graphrec.viz.picture import plain
from graphrec.viz.text import dot, mermaid

__all__ = ["dot", "mermaid", "plain", "svg"]
