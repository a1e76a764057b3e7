"""Dead copies go: a bundle's member that no task reads is not computed.

First of the passes, so that no later one settles kernels or tables for what nobody reads.
"""

from __future__ import annotations

from graphrec.compiler.target import Target
from graphrec.graph import Graph

__all__ = ["prune"]


def prune(graph: Graph, target: Target) -> Graph:
    """Keep the nodes that some output or loss depends on.

    Whole nodes that nothing reads are errors of the recipe, found earlier; what is left to drop
    here are copies made by `each` and `parallel`, and parts of composites.
    """
    needed = graph.needed()
    return graph.with_nodes(node for node in graph.nodes if node.name in needed)
