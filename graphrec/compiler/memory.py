"""How much memory a model needs, from the graph alone: refused before anything is allocated.

Tables are exact, and so are dense weights, which every block counts itself (one of somebody's own
that does not say is guessed, never far above what it has). Training keeps a gradient and the
optimizer's state beside every weight; what passes between nodes is counted for the largest node of
a batch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from graphrec.blocks.base import Block
from graphrec.compiler.layer_args import input_shapes
from graphrec.graph import Graph, Node, Table
from graphrec.ground.errors import Problem
from graphrec.ground.text import memory
from graphrec.recipe.model import Recipe
from graphrec.recipe.optimizer_table import OPTIMIZERS

__all__ = ["ABSURD", "Size", "available", "check_memory", "parse_bytes", "sizes"]

_SHOWN = 8
ABSURD = 1 << 40
"""Bytes that no single machine is asked for: 1 TiB."""
_SHARE = 0.8
"""Of what there is: the rest is Python's, the batches being read, and everybody else's."""
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class Size:
    """A tensor (or the tensors of a node): its name, its shape in words, its bytes, its path.

    `passing`: it is made anew for every batch.
    """

    name: str
    shape: str
    count: int
    path: str
    passing: bool = False


def sizes(graph: Graph, recipe: Recipe) -> list[Size]:
    """Bytes of tables, of dense weights by node, and of the largest activation; largest first."""
    every = [*_tables(graph, recipe), *_vectors(graph), *_weights(graph)]
    largest = max(
        _activations(graph, recipe.train.batch), key=lambda size: size.count, default=None
    )
    if largest is not None:
        every.append(largest)
    return sorted(every, key=lambda size: (-size.count, size.name))


def check_memory(graph: Graph, recipe: Recipe, bound: int | None = None) -> list[Problem]:
    """GR507 with a table of bytes per tensor, when the model needs more than `bound` bytes.

    Without a bound only what no machine holds is refused: a recipe may be meant for a larger one.
    """
    largest = sizes(graph, recipe)
    total, limit = sum(size.count for size in largest), bound or ABSURD
    if total <= limit:
        return []
    alone = (size for size in largest if size.count > limit and not size.passing)
    first = next(alone, largest[0])
    rows = [(size.name, size.shape, memory(size.count)) for size in largest[:_SHOWN]]
    if len(largest) > _SHOWN:
        rest = sum(size.count for size in largest[_SHOWN:])
        rows.append((f"{len(largest) - _SHOWN} more", "", memory(rest)))
    rows.append(("together", "", memory(total)))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{r[0]:<{widths[0]}}  {r[1]:<{widths[1]}}  {r[2]:>{widths[2]}}" for r in rows]
    mend = "make the largest smaller, or say what there is:  --max-memory 200G"
    what = f"training needs {memory(total)}, more than the {memory(limit)} there are"
    origin = recipe.origin
    span = (
        (origin.value if first.path.count(".") > 1 else origin.key)(first.path) if origin else None
    )
    return [Problem("GR507", what, span, first.path, "\n".join([mend, *lines]))]


def available() -> int:
    """Bytes that a model may need here: 80 % of the memory, or of the process's limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        import resource
    except ImportError:
        return int(total * _SHARE)
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return int((min(total, limit) if limit > 0 else total) * _SHARE)


def parse_bytes(text: str) -> int:
    """Bytes of `8G`, `500M`, `1.5T` or a plain number; ValueError for anything else.

    >>> parse_bytes("1.5K")
    1536
    """
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.I)
    if match is None or not float(match[1]):
        raise ValueError(f"expected a size such as 8G or 500M, got {text!r}")
    return int(float(match[1]) * _UNITS[match[2].upper()])


# ---- what there is ------------------------------------------------------------------------------


def _tables(graph: Graph, recipe: Recipe) -> Iterator[Size]:
    state = 1 + OPTIMIZERS[recipe.train.optim.sparse.name].numbers_per_weight
    lookups = sorted((*graph.lookups, *graph.first_order), key=lambda c: (c.kind != "id", c.column))
    owners = {c.table: c.column.partition(".")[0] for c in reversed(lookups)}
    for table in (*graph.tables, *graph.first_order_tables):
        if table.rows is not None:
            path = f"features.{owners.get(table.name, table.name)}"
            yield Size(*_table(table, state), _nearest_setting(table, recipe, path))


def _table(table: Table, state: float) -> tuple[str, str, int]:
    rows = table.rows or 0
    number = 2 if table.dtype == "bf16" else 4
    return (
        f"table {table.name}",
        f"[{rows:,}, {table.dim:,}]",
        int(rows * table.dim * number * state),
    )


def _nearest_setting(table: Table, recipe: Recipe, path: str) -> str:
    """The setting that makes the table large: its width, or its rows."""
    values = recipe.origin.values if recipe.origin else {}
    first = "dim" if table.dim > (table.rows or 0) else "vocab"
    for key in (first, "vocab", "edges", "dim"):
        if f"{path}.{key}" in values:
            return f"{path}.{key}"
    return path


def _vectors(graph: Graph) -> Iterator[Size]:
    """Learned vectors of numbers: one each, or the meta embeddings of AutoDis."""
    for lookup in graph.lookups:
        if lookup.kind in ("scaled", "autodis"):
            channels = int(lookup.options.get("channels", lookup.width))
            count = channels * lookup.dim + (channels**2 if lookup.kind == "autodis" else 0)
            path = f"features.{lookup.column}"
            yield Size(f"vectors {lookup.column}", f"{count:,} weights", count * 16, path)


def _weights(graph: Graph) -> Iterator[Size]:
    for node in graph.nodes:
        if isinstance(node.op, Block) and not node.shares:
            positional, named = node.op.spread(input_shapes(graph, node))
            count = node.op.parameters(*positional, **named)
            if count:
                # the weights, their gradients, and two moments
                yield Size(f"node {node.name}", f"{count:,} weights", count * 16, _path(node))


def _path(node: Node) -> str:
    if node.role in ("block", "expression"):
        return f"graph.{node.origin}"
    if node.role == "loss":
        return f"losses.{node.name.removeprefix('loss.')}"
    return node.origin if node.role == "group" else f"tasks.{node.origin.rpartition('.')[2]}"


def _activations(graph: Graph, batch: int) -> Iterator[Size]:
    """Outputs of nodes for a batch; a history counts one step, since real lengths are unknown."""
    for node in graph.nodes:
        for shape in node.outputs.values():
            dims = [_size(dim, batch) for dim in shape.dims]
            path = "train.batch" if batch > 1_000_000 else _path(node)
            text = "[" + ", ".join(f"{d:,}" for d in dims) + "]"
            yield Size(f"output of {node.name}", text, prod(dims) * 4, path, passing=True)


def _size(dim: int | str, batch: int) -> int:
    if isinstance(dim, int):
        return dim
    return batch if dim == "B" else 1
