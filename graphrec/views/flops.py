"""Parameters and floating point operations of every node, counted on the module itself.

The module is made on torch's meta device and run on a batch without numbers: a table of a billion
rows costs nothing here. Histories count at their longest, bags of values as one value a row.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from graphrec.blocks.base import Block
from graphrec.compiler.codegen import lower
from graphrec.compiler.pipeline import Compiled
from graphrec.graph import KernelChoice
from graphrec.recipe.model import Recipe, SequenceFeature
from graphrec.views.describe import Cost

if TYPE_CHECKING:
    from torch import nn

    from graphrec.graph import Lookup
    from graphrec.nn import Batch

__all__ = ["count", "history_lengths", "measure"]

_ROWS = 2


def history_lengths(recipe: Recipe) -> dict[str, int]:
    """Steps of every sequence at its longest."""
    sequences = {n: f for n, f in recipe.features.items() if isinstance(f, SequenceFeature)}
    return {name: feature.max_len for name, feature in sequences.items()}


def measure(compiled: Compiled) -> tuple[dict[str, Cost], tuple[str, ...]]:
    """Costs by node, and remarks on what could not be counted; imports torch.

    FLOPs are those of matrix products, convolutions and attention (two for a multiplication and
    an addition), which is where a model's time goes.
    """
    return count(_in_torch(compiled))


def count(compiled: Compiled) -> tuple[dict[str, Cost], tuple[str, ...]]:
    """`measure`, with the kernels the graph has."""
    import torch

    every = (*compiled.graph.tables, *compiled.graph.first_order_tables)
    with torch.device("meta"):
        module = compiled.module({table.name: 1 for table in every if table.rows is None})
    module.eval()
    attributes = compiled.source.attributes
    parts = {node: getattr(module, attribute) for node, attribute in attributes.items()}
    flops, remark = _flops(module, parts, compiled)
    costs = {
        name: Cost(sum(p.numel() for p in part.parameters()), flops.get(name))
        for name, part in parts.items()
    }
    return costs, ((remark,) if remark else ())


def _in_torch(compiled: Compiled) -> Compiled:
    """The same model on torch kernels: others count nothing, and may not run here."""
    plain = KernelChoice("torch", "torch")
    nodes = (
        replace(node, kernel=plain) if isinstance(node.op, Block) else node
        for node in compiled.graph.nodes
    )
    graph = compiled.graph.with_nodes(nodes)
    return replace(compiled, graph=graph, source=lower(graph, recipe_hash="", version=""))


def _flops(
    module: nn.Module, parts: Mapping[str, nn.Module], compiled: Compiled
) -> tuple[dict[str, int], str]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode, flop_registry

    aten = torch.ops.aten
    counter = FlopCounterMode(display=False)
    # The counter does not know the forms that write into their first argument.
    for name in ("addmm", "baddbmm"):
        counter.flop_registry[getattr(aten, f"{name}_")] = flop_registry[getattr(aten, name)]
    flops = dict.fromkeys(parts, 0)
    started: list[int] = []

    def before(*_: Any) -> None:
        started.append(counter.get_total_flops())

    def after(name: str) -> Any:
        def count(*_: Any) -> None:
            flops[name] += counter.get_total_flops() - started.pop()

        return count

    for name, part in parts.items():
        part.register_forward_pre_hook(before)
        part.register_forward_hook(after(name))
    batch = _batch(compiled)
    try:
        with torch.no_grad(), counter, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module(batch)
    except Exception as error:  # a block of somebody's own may not run without numbers
        notes = [note for note in getattr(error, "__notes__", []) if note.startswith("graphrec:")]
        where = f" ({notes[0].removeprefix('graphrec: ')})" if notes else ""
        return {}, f"FLOPs are not known: the model can't run on the meta device{where}: {error}"
    return {name: number // _ROWS for name, number in flops.items()}, ""


def _batch(compiled: Compiled) -> Batch:
    """A batch of the right shapes without numbers; of a retriever an item for each row."""
    from graphrec.nn.batch import Batch, Compared

    lengths = history_lengths(compiled.recipe)
    lookups = {c.column: c for c in (*compiled.graph.first_order, *compiled.graph.lookups)}
    batch = Batch({name: _column(lookup, lengths) for name, lookup in lookups.items()})
    if compiled.graph.vectors is not None:
        batch.compared = Compared.each_with(batch)
    return batch


def _column(lookup: Lookup, lengths: Mapping[str, int]) -> Any:
    import torch

    from graphrec.nn import Jagged

    def ids(count: int) -> Any:
        return torch.empty(count, dtype=torch.int64, device="meta")

    def bags(count: int) -> Any:
        return Jagged(ids(count), ids(count))

    if lookup.kind in ("sequence", "dense_sequence"):
        steps = _ROWS * lengths[lookup.column.partition(".")[0]]
        if lookup.kind == "dense_sequence":
            return Jagged(torch.empty(steps, lookup.width, device="meta"), ids(_ROWS))
        return Jagged(bags(steps) if lookup.pool else ids(steps), ids(_ROWS))
    if lookup.kind == "id":
        return bags(_ROWS) if lookup.pool else ids(_ROWS)
    return torch.empty(_ROWS, lookup.width, device="meta")
