"""Passes: plain functions Graph -> Graph, run in the order written here."""

from __future__ import annotations

from collections.abc import Callable

from graphrec.compiler.passes.candidates import candidate_split
from graphrec.compiler.passes.cse import common
from graphrec.compiler.passes.horizontal_fusion import siblings
from graphrec.compiler.passes.inference import inference
from graphrec.compiler.passes.kernel_choice import choose_kernels
from graphrec.compiler.passes.prune import prune
from graphrec.compiler.passes.table_kernels import tables
from graphrec.compiler.target import Target
from graphrec.graph import Graph

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
