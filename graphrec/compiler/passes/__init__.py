"""Passes: plain functions Graph -> Graph, run in the order written here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from graphrec.compiler.passes.candidates import candidate_split
from graphrec.compiler.passes.cse import cse
from graphrec.compiler.passes.horizontal_fusion import horizontal_fusion
from graphrec.compiler.passes.kernel_choice import choose_kernels
from graphrec.compiler.passes.prune import prune
from graphrec.compiler.passes.table_kernels import tables
from graphrec.compiler.passes.without_training import inference
from graphrec.compiler.target import Target
from graphrec.graph import Graph

__all__ = ["PASSES", "Pass", "Seen", "Trace", "run"]

Pass = Callable[[Graph, Target], Graph]
"""One improvement; it gets a graph that is whole, and gives one."""

Trace = Callable[[str, Graph], None]

PASSES: tuple[Pass, ...] = (
    prune,  # before anything is done with nodes that nobody reads
    cse,  # what is equal, while names and kernels do not tell it apart yet
    tables,  # lookups of the groups that are left
    inference,  # before kernels: some refuse dropout
    choose_kernels,  # of the operations as they will run
    candidate_split,  # after kernels: whether a layer takes a split value is the kernel's promise
    horizontal_fusion,  # last: what runs together depends on kernels, and in a score on rows
)


class Seen:
    """The graph as each pass left it: `add` is a trace."""

    names = ("build", *(step.__name__ for step in PASSES))

    def __init__(self) -> None:
        self._graphs: dict[str, Graph] = {}

    def add(self, name: str, graph: Graph) -> None:
        self._graphs[name] = graph

    def after(self, name: str) -> Graph:
        """As that pass left it; no kernel is shown before kernels are chosen."""
        graph = self._graphs[name]
        if self.names.index(name) < self.names.index(choose_kernels.__name__):
            graph = graph.with_nodes(replace(node, kernel=None) for node in graph.nodes)
        return replace(graph, description=f"After {name}. {graph.description}".strip())


def run(
    graph: Graph, target: Target, trace: Trace | None = None, extra: Sequence[Pass] = ()
) -> Graph:
    """Apply every pass; `trace` sees the graph before them (`build`) and after each, by name.

    `extra` are somebody's own. They come first: what they leave unread or make equal is cleaned up
    behind them, and kernels are chosen for what they made.
    """
    if trace is not None:
        trace("build", graph)
    for step in (*extra, *PASSES):
        name = getattr(step, "__name__", type(step).__name__)
        changed = step(graph, target)
        if not isinstance(changed, Graph):
            raise TypeError(f"pass `{name}` gives a {type(changed).__name__}, expected a Graph")
        graph = changed
        if trace is not None:
            trace(name, graph)
    return graph
