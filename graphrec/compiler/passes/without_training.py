"""What only training needs is not compiled for inference.

Dropout is the identity then; without it more kernels may be chosen, and the text says what runs.
"""

from __future__ import annotations

from dataclasses import replace

from graphrec.blocks.base import Block
from graphrec.compiler.passes.prune import prune
from graphrec.compiler.target import Target
from graphrec.graph import Graph, Node

__all__ = ["inference"]


def inference(graph: Graph, target: Target) -> Graph:
    """Take dropout, losses, nodes and tasks of training alone out, for a target of that purpose.

    What only they read goes too. Batch norm needs the weights to be folded:
    `graphrec.nn.prepare` does it once they are loaded.
    """
    if target.purpose != "inference":
        return graph
    trained = graph.trained
    outputs = tuple(o for o in graph.outputs if not o.for_training and o.ref.node not in trained)
    kept = [node for node in graph.nodes if not node.is_loss and node.name not in trained]
    nodes = [_without_dropout(node) for node in kept]
    return prune(replace(graph, outputs=outputs).with_nodes(nodes), target)


def _without_dropout(node: Node) -> Node:
    if not isinstance(node.op, Block) or not getattr(node.op, "dropout", None):
        return node
    return replace(node, op=node.op.model_copy(update={"dropout": 0.0}))
