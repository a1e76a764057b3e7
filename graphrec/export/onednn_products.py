"""Products of an exported program by oneDNN, where that is the faster library.

AOTInductor calls MKL for float32 products, at half of oneDNN's speed on AMD processors (see
`graphrec.nn.products`). DeepFM compiled ahead of time, one thread of an AMD EPYC, with its products
by oneDNN: 1.8 times as fast at 4096 rows and 1.4 times at 64, but 0.6 times at one row, where
oneDNN lays the weights out anew for each call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from graphrec.nn.products import onednn_wanted

__all__ = ["give_products_to_onednn"]


def give_products_to_onednn(program: ExportedProgram) -> int:
    """Replace float32 products over any number of rows, in place; how many there were.

    Nothing is replaced on processors where MKL is the faster one. A program that has been changed
    runs on CPUs only.
    """
    if not onednn_wanted():
        return 0
    graph, count = program.graph_module.graph, 0
    for node in list(graph.nodes):
        if node.target is torch.ops.aten.linear.default and _is_worth_it(node):
            x, weight, *rest = node.args
            arguments: tuple[Any, ...] = (x, weight, rest[0] if rest else None, "none", [], "")
            with graph.inserting_before(node):
                by_onednn = graph.call_function(
                    torch.ops.mkldnn._linear_pointwise.default, arguments
                )
            by_onednn.meta = dict(node.meta)
            node.replace_all_uses_with(by_onednn)
            graph.erase_node(node)
            count += 1
    program.graph_module.recompile()
    return count


def _is_worth_it(node: Node) -> bool:
    """A float32 product on a CPU whose rows are not known to be one."""
    x = node.args[0]
    value = x.meta.get("val") if isinstance(x, Node) else None
    return (
        isinstance(value, torch.Tensor)
        and value.dtype == torch.float32
        and value.device.type == "cpu"
        and not (isinstance(value.shape[0], int) and value.shape[0] == 1)
    )
