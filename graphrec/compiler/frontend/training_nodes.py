"""Nodes with `when: train`: nothing that is there outside of training may read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from graphrec.compiler.frontend.context import Context
from graphrec.graph import Graph, Node, Output, Ref, topological

__all__ = ["judge_training"]


def judge_training(
    context: Context,
    nodes: Mapping[str, Node],
    outputs: Iterable[Output],
    exports: Iterable[Ref],
) -> None:
    """Report tasks and exports that read what only training computes, and a model of nothing."""
    outputs, exports, recipe = tuple(outputs), tuple(exports), context.recipe
    learned = outputs or recipe.retrieval or any(n.is_loss for n in nodes.values())
    if not context.problems and not context.broken and not learned:
        help = "a task, a term under `losses:` or a loss block in the graph"
        context.report("GR206", "tasks", "nothing is learned: no task and no loss", help)
    if not any(node.for_training for node in nodes.values()):
        return
    trained = Graph("", topological(nodes.values()), ()).trained
    for output in outputs:
        if output.ref.node in trained and recipe.tasks[output.task].when != "train":
            context.report(
                "GR408",
                f"tasks.{output.task}",
                f"task `{output.task}` reads a node with `when: train`, and is wanted always",
                "give the task `when: train` too, or take it from the node",
                context.key(f"tasks.{output.task}"),
            )
    for ref in exports:
        if ref.node in trained:
            context.report(
                "GR408",
                "export.nodes",
                f"`{ref}` is for training alone: it can't be exported",
                "take `when: train` from what it reads, or leave it out",
            )
