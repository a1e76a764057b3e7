"""The intermediate representation: a graph of immutable nodes, the same for every part of the road.

Inputs are the truth; everything else (order, ancestors, the networkx view) is derived from them.
"""

from __future__ import annotations

from graphrec.graph.graph import Graph, KernelChoice, Node, Output, Vectors, topological
from graphrec.graph.operations import (
    Arrangement,
    Broadcast,
    Concat,
    Dropped,
    Group,
    Lookup,
    Operation,
    Ref,
    Side,
    Split,
    Table,
)
from graphrec.graph.topology import find_cycle

__all__ = [
    "Arrangement",
    "Broadcast",
    "Concat",
    "Dropped",
    "Graph",
    "Group",
    "KernelChoice",
    "Lookup",
    "Node",
    "Operation",
    "Output",
    "Ref",
    "Side",
    "Split",
    "Table",
    "Vectors",
    "find_cycle",
    "topological",
]
