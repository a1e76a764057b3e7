"""Measurements by content: what a node's entry in kernels.lock is, and which kernel it names.

By content and not by name: a node that is renamed, moved or copied keeps its measurement, and one
whose shape, batch or precision changes loses it, for another kernel may be the faster one then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from graphrec.blocks.base import Block
from graphrec.compiler.kernel_lock import NAME, Entry
from graphrec.compiler.layer_args import layer_args, layer_inputs
from graphrec.compiler.target import Target
from graphrec.graph import Graph, KernelChoice, Lookup, Node, Table
from graphrec.ground.shapes import B, Dim, Shape

__all__ = [
    "GAIN",
    "STORES",
    "Refusal",
    "by_measurement",
    "node_entry",
    "store_entry",
    "store_parts",
]

GAIN = 1.03
"""A kernel is worth it when it is at least this many times as fast as torch: less is noise, and
torch is what most people know how to read in a profile."""

STORES = ("embeddings", "first_order")
"""The two collections of tables of a generated module."""

Refusal = Callable[[str, bool], str | None]
"""(kernel, with this machine's packages looked at?) -> why it can't be chosen, or None."""


def node_entry(graph: Graph, node: Node, target: Target, stack: tuple[str, ...] = ()) -> Entry:
    """What is timed for a node: an entry without times, whose key finds the measured one.

    `stack` are the nodes that can be computed together with it, itself among them.
    """
    assert isinstance(node.op, Block)
    lengths = target.measured.lengths
    shared = all(graph[name].inputs == node.inputs for name in stack)
    return Entry(
        block=node.label,
        args=json.loads(json.dumps(layer_args(graph, node))),
        inputs=[_shown(shape, lengths.get) for shape in layer_inputs(graph, node)],
        copies=max(1, len(stack)),
        shared=bool(stack) and shared,
        batch=target.measured.batch,
        precision=target.precision,
        device=target.device,
    )


def store_parts(graph: Graph, store: str) -> tuple[tuple[Table, ...], tuple[Lookup, ...]]:
    """Tables and columns of one of `STORES`."""
    if store == "first_order":
        return graph.first_order_tables, graph.first_order
    return graph.tables, graph.lookups


def store_entry(graph: Graph, store: str, target: Target) -> Entry:
    """What is timed for a collection of tables."""
    tables, lookups = store_parts(graph, store)
    lengths = target.measured.lengths
    steps = {c.column: lengths.get(c.column.partition(".")[0]) for c in lookups}
    exact = [[asdict(t) for t in tables], [asdict(c) | {"steps": steps[c.column]} for c in lookups]]
    digest = hashlib.sha256(json.dumps(exact, sort_keys=True, default=str).encode()).hexdigest()
    widths = sorted({table.dim for table in tables})
    args: dict[str, Any] = {"tables": len(tables), "widths": widths, "digest": digest[:16]}
    return Entry(
        block="tables",
        args={**args, "update": target.measured.update},
        inputs=[f"{len(lookups)} columns"],
        batch=target.measured.batch,
        precision=target.precision,
        device=target.device,
    )


def by_measurement(entry: Entry, target: Target, refusal: Refusal) -> KernelChoice | None:
    """What `auto` is by kernels.lock; None where nothing usable was measured.

    The source names the fastest kernel that recipe and device allow, whatever is installed here;
    where something it needs is missing, torch runs in its place.
    """
    measured = target.measured.entries.get(entry.key)
    if measured is None or measured.kernels.keys() <= {"torch"}:
        return None
    ratios = {
        name: measured.ratio(name, target.purpose) for name in measured.kernels if name != "torch"
    }
    ranked = sorted((-ratio, name) for name, ratio in ratios.items() if ratio is not None)
    passed_over = ""
    for ratio, name in ((-negative, name) for negative, name in ranked):
        if ratio < GAIN:
            break
        result = f"measured {ratio:.2f}x of torch at batch {measured.batch} ({NAME})"
        why = refusal(name, False)
        if why is not None:
            passed_over = passed_over or f"{name} {result}, but {why}"
            continue
        why = refusal(name, True)
        if why is not None:
            but = f"{name} {result}, but {why}"
            return KernelChoice("auto", "torch", but, name, local=True, measured=result)
        return KernelChoice("auto", name, result, name, measured=result)
    fastest = f"no kernel measured {GAIN:.2f}x of torch or more at batch {measured.batch} ({NAME})"
    return KernelChoice("auto", "torch", passed_over or fastest, "torch")


def _shown(shape: Shape, length: Callable[[str], int | None]) -> str:
    """The shape with the longest history in place of the sequence's name."""

    def dim(value: Dim) -> str:
        if isinstance(value, int) or value == B:
            return str(value)
        return f"L{length(value.partition('.')[2]) or ''}"

    return f"[{', '.join(dim(value) for value in shape.dims)}]"
