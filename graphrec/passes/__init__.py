"""Passes: plain functions Graph -> Graph, run in the order written here."""

from __future__ import annotations

from collections.abc import Callable

from graphrec.graph import Graph
from graphrec.passes.candidates import candidate_split
from graphrec.passes.common import common
from graphrec.passes.inference import inference
from graphrec.passes.kernels import choose_kernels
from graphrec.passes.prune import prune
from graphrec.passes.siblings import siblings
from graphrec.passes.tables import tables
from graphrec.target import Target

__all__ = ["PASSES", "Trace", "run"]

Trace = Callable[[str, Graph], None]

PASSES: tuple[Callable[[Graph, Target], Graph], ...] = (
    prune,
    common,
    tables,
    inference,
    choose_kernels,
    candidate_split,
    siblings,
)


def run(graph: Graph, target: Target, trace: Trace | None = None) -> Graph:
    """Apply every pass; `trace` sees the graph before them (`build`) and after each, by name."""
    if trace is not None:
        trace("build", graph)
    for step in PASSES:
        graph = step(graph, target)
        if trace is not None:
            trace(step.__name__, graph)
    return graph
