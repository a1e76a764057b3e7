"""Which kernel each node runs: asked -> chosen, and why.

Precedence: the node's `kernel:` > `by_node` (most specific glob) > `by_block` > `default`; in this
order first among what `-o` says, then among what the files say. `auto` is torch until measurements
say otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

from graphrec.block import Block
from graphrec.graph import Graph, KernelChoice, Node
from graphrec.target import KernelWishes, Target

__all__ = ["asked_kernel", "choose_kernels"]


def choose_kernels(graph: Graph, target: Target) -> Graph:
    """Settle the kernel of every block; an ineligible one becomes torch, with the reason kept."""
    return graph.with_nodes(
        replace(node, kernel=_choose(node, target)) if isinstance(node.op, Block) else node
        for node in graph.nodes
    )


def asked_kernel(node: Node, wishes: KernelWishes) -> str:
    """The kernel asked for a node."""
    globs = sorted(
        (
            glob
            for glob in wishes.by_node
            if fnmatchcase(node.name, glob) or fnmatchcase(node.origin, glob)
        ),
        key=lambda glob: (sum(c not in "*?[]" for c in glob), glob),
        reverse=True,
    )
    ladder = [
        (f"graph.{node.origin}.kernel", node.kernel.asked if node.kernel else ""),
        *((f"kernels.by_node.{glob}", wishes.by_node[glob]) for glob in globs),
        (f"kernels.by_block.{node.label}", wishes.by_block.get(node.label, "")),
        ("kernels.default", wishes.default),
    ]
    forced = [kernel for place, kernel in ladder if place in wishes.overridden]
    return next(kernel for kernel in (*forced, *(k for _, k in ladder), "auto") if kernel)


def _choose(node: Node, target: Target) -> KernelChoice:
    asked = asked_kernel(node, target.wishes)
    assert isinstance(node.op, Block)
    if asked in ("auto", "torch"):
        return KernelChoice(asked, "torch", "nothing measured yet" if asked == "auto" else "")
    kernel = node.op.kernel(asked)
    if kernel is None:
        return KernelChoice(asked, "torch", f"block {node.label} has no kernel `{asked}`")
    why = kernel.refusal(node.op, target.device, target.precision, target.modules)
    return KernelChoice(asked, "torch", why) if why else KernelChoice(asked, asked)
