"""What there is to time and to compare: every block of a recipe and its tables, each once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from graphrec.blocks.base import Block, Kernel
from graphrec.compiler.kernel_lock import Entry
from graphrec.compiler.layer_args import layer_args, layer_inputs
from graphrec.compiler.passes.kernel_choice import asked_kernel, stacks_of, table_refusal
from graphrec.compiler.passes.measured import STORES, node_entry, store_entry, store_parts
from graphrec.compiler.target import TABLE_KERNELS, Target
from graphrec.graph import Graph, Lookup, Node, Table
from graphrec.ground.shapes import B, Shape

__all__ = ["Job", "LayerJob", "StoreJob", "interpreted", "jobs"]


@dataclass(frozen=True)
class Job:
    """One layer of a recipe with its kernels.

    `nodes` are those that equal it. `kernels` can run here, torch first; `absent` can't: why.
    """

    nodes: tuple[str, ...]
    entry: Entry
    kernels: tuple[str, ...]
    absent: Mapping[str, str]

    @property
    def name(self) -> str:
        """The nodes, for people."""
        more = len(self.nodes) - 1
        return self.nodes[0] + (f" +{more}" if more else "")


@dataclass(frozen=True)
class LayerJob(Job):
    """A block: its kernels, their layers' arguments, the shapes of their inputs.

    `lengths` is the longest history of each input, None for one that is no history. Where the entry
    has copies, they are what the kernels compute, one by one or together.
    """

    layers: Mapping[str, Kernel]
    args: Mapping[str, Any]
    inputs: tuple[Shape, ...]
    lengths: tuple[int | None, ...]


@dataclass(frozen=True)
class StoreJob(Job):
    """A collection of tables, with the longest history by sequence."""

    tables: tuple[Table, ...]
    lookups: tuple[Lookup, ...]
    lengths: Mapping[str, int]


def jobs(graph: Graph, target: Target) -> list[Job]:
    """All of a graph's: the tables first, then the blocks in their order, equal ones once."""
    by_key: dict[str, list[Job]] = {}
    for job in (*_stores(graph, target), *_layers(graph, target)):
        by_key.setdefault(job.entry.key, []).append(job)
    return [_merged(same) for same in by_key.values()]


def _merged(same: list[Job]) -> Job:
    return replace(same[0], nodes=tuple(name for job in same for name in job.nodes))


def _layers(graph: Graph, target: Target) -> Iterator[Job]:
    stacks = stacks_of(graph, target)
    for node in graph.nodes:
        if isinstance(node.op, Block):
            yield _layer(graph, node, node.op, target, stacks.get(node.name, ()))


def _layer(
    graph: Graph, node: Node, block: Block, target: Target, stack: tuple[str, ...]
) -> LayerJob:
    declared = {name: kernel for name in block.kernels if (kernel := block.kernel(name))}
    absent = {name: why for name, k in declared.items() if (why := _refusal(k, block, target))}
    if not stack:
        absent |= {n: _alone(node, n, target) for n, k in declared.items() if k.together}
    inputs = layer_inputs(graph, node)
    return LayerJob(
        nodes=(node.name,),
        entry=node_entry(graph, node, target, stack),
        kernels=_torch_first(name for name in declared if name not in absent),
        absent=absent,
        layers=declared,
        args=layer_args(graph, node),
        inputs=inputs,
        lengths=tuple(_longest(shape, target.measured.lengths) for shape in inputs),
    )


def _alone(node: Node, kernel: str, target: Target) -> str:
    requested = asked_kernel(node, target.requests)
    if requested not in ("auto", kernel):
        return (
            f"the recipe asks for `{requested}`: only what may be `{kernel}` is computed together"
        )
    return "no sibling: no other node of equal settings and shapes can run beside it"


def interpreted() -> bool:
    """Whether this process runs Triton kernels on the CPU, in Triton's interpreter."""
    environment = (os.environ.get("TRITON_INTERPRET"), os.environ.get("GRAPHREC_KERNELS"))
    return environment == ("1", "triton")


def _refusal(kernel: Kernel, block: Block, target: Target) -> str | None:
    device = target.device
    if "triton" in kernel.needs and interpreted():
        device = kernel.devices[0]
    return kernel.refusal(block, device, target.precision, target.modules)


def _longest(shape: Shape, lengths: Mapping[str, int]) -> int | None:
    symbols = (dim for dim in shape.dims if isinstance(dim, str) and dim != B)
    return next((lengths.get(symbol.partition(".")[2], 1) for symbol in symbols), None)


def _stores(graph: Graph, target: Target) -> Iterator[Job]:
    for store in STORES:
        tables, lookups = store_parts(graph, store)
        if not tables:
            continue
        absent = {
            name: why
            for name in TABLE_KERNELS
            if (why := table_refusal(name, tables, target, here=True))
        }
        yield StoreJob(
            nodes=(store,),
            entry=store_entry(graph, store, target),
            kernels=_torch_first(name for name in TABLE_KERNELS if name not in absent),
            absent=absent,
            tables=tables,
            lookups=lookups,
            lengths=target.measured.lengths,
        )


def _torch_first(names: Iterator[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: (name != "torch", name)))
