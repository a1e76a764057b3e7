"""Horizontal fusion: towers of one form are computed together, one product a layer.

Ten towers of [64, 32] are twenty small matrix products, each too small to fill a processor; side
by side they are two. It pays for many small members only, so it is asked for (or measured by
`graphrec bench`), never assumed.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from graphrec.blocks.base import Block, Kernel
from graphrec.compiler.layer_args import layer_inputs
from graphrec.compiler.target import Target
from graphrec.graph import Graph, KernelChoice, Node
from graphrec.ground.shapes import SPLIT

__all__ = ["horizontal_fusion"]


def horizontal_fusion(graph: Graph, target: Target) -> Graph:
    """Stack the nodes whose kernel computes several at once, where they are of one family.

    A family has one block with one set of settings, equal input shapes, and no path from one member
    to another. A node that stands alone runs on torch. A scoring graph has families of its own:
    there a layer may run for one row, or read a split value, which is no tensor to stack.
    """
    if graph.scoring is not None:
        graph = replace(graph, scoring=horizontal_fusion(graph.scoring, target))
    depths = _depths(graph)
    families: dict[Hashable, list[str]] = {}
    chosen: dict[str, KernelChoice] = {}
    for node in graph.nodes:
        kernel = _together(node)
        if kernel is None or node.kernel is None:
            continue
        why = _misfit(graph, node)
        if why:
            chosen[node.name] = replace(node.kernel, chosen="torch", why=why)
        else:
            late = node.name in graph.training_only  # evaluation computes no part of a stack
            family = late, _family(graph, node, depths[node.name])
            families.setdefault(family, []).append(node.name)
    for names in families.values():
        for name in names:
            chosen[name] = _chosen(graph[name], tuple(sorted(names)))
    return graph.with_nodes(
        replace(node, kernel=chosen.get(node.name, node.kernel)) for node in graph.nodes
    )


def _together(node: Node) -> Kernel | None:
    """The kernel chosen for the node, if it is one that computes several nodes."""
    if not isinstance(node.op, Block) or node.kernel is None:
        return None
    kernel = node.op.kernel(node.kernel.chosen)
    return kernel if kernel is not None and kernel.together else None


def _misfit(graph: Graph, node: Node) -> str:
    """Why the node can't be stacked, whatever stands beside it."""
    if list(node.outputs) != [""]:
        return "has several outputs"
    odd = [
        shape
        for shape in layer_inputs(graph, node)
        if shape.rank != 2 or shape.is_jagged or shape.dims[0] == SPLIT
    ]
    return f"reads {odd[0]}; vectors [B, D] are stacked" if odd else ""


def _family(graph: Graph, node: Node, depth: int) -> Hashable:
    assert isinstance(node.op, Block) and node.kernel is not None
    shapes = layer_inputs(graph, node)
    return type(node.op), node.op.model_dump_json(), node.kernel.chosen, shapes, depth


def _chosen(node: Node, names: tuple[str, ...]) -> KernelChoice:
    assert node.kernel is not None
    if len(names) == 1:
        why = f"no sibling: no other {node.label} of equal settings and shapes can run beside it"
        return replace(node.kernel, chosen="torch", why=why)
    others = ", ".join(name for name in names if name != node.name)
    why = f"{node.kernel.why}, with {others}" if node.kernel.why else f"with {others}"
    return replace(node.kernel, why=why, stack=names)


def _depths(graph: Graph) -> dict[str, int]:
    """Most nodes to be stacked that a path to each node leads through.

    It never falls along a path and rises behind each such node, so stacks of nodes of equal depth
    form no cycle, however many there are.
    """
    depths: dict[str, int] = {}
    for node in graph.nodes:
        sources = [graph[ref.node] for _, ref in node.refs()]
        depths[node.name] = max((depths[s.name] + bool(_together(s)) for s in sources), default=0)
    return depths
