"""What can be permuted: the columns of a feature or group in a batch, the outputs of a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graphrec.blocks.base import Block
from graphrec.blocks.library import Library
from graphrec.compiler.frontend.context import Context
from graphrec.compiler.frontend.feature_columns import Features
from graphrec.compiler.pipeline import Compiled
from graphrec.nn.batch import Batch, Jagged
from graphrec.recipe.model import Recipe

__all__ = ["By", "Target", "owners", "take_rows", "targets"]

By = Literal["feature", "group", "node"]


@dataclass(frozen=True)
class Target:
    """Something whose rows can be swapped: columns of the batch, or a module's outputs."""

    name: str
    columns: frozenset[str] = frozenset()
    part: nn.Module | None = None

    def batch(self, batch: Batch, order: Tensor) -> Batch:
        """The batch with the rows of these columns in that order."""
        if not self.columns:
            return batch
        features = {
            name: take_rows(value, order) if name in self.columns else value
            for name, value in batch.features.items()
        }
        return replace(batch, features=features)

    def hooked(self, order: Tensor) -> AbstractContextManager[None]:
        """While it is open, the module gives its rows in that order."""
        return nullcontext() if self.part is None else _hooked(self.part, order)


@contextmanager
def _hooked(part: nn.Module, order: Tensor) -> Iterator[None]:
    def swap(_: nn.Module, __: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return tuple(take_rows(value, order) for value in output)
        return take_rows(output, order)

    handle = part.register_forward_hook(swap)
    try:
        yield
    finally:
        handle.remove()


def targets(by: By, compiled: Compiled, module: nn.Module, library: Library) -> list[Target]:
    """All features, groups or nodes of a model, by name."""
    recipe = compiled.recipe
    used = {lookup.column for lookup in (*compiled.graph.lookups, *compiled.graph.first_order)}
    if by == "feature":
        columns_of = {name: _columns(name, used) for name in sorted(recipe.features)}
    elif by == "group":
        columns_of = {name: columns & used for name, columns in _groups(recipe, library).items()}
    else:
        return _nodes(compiled, module)
    return [Target(name, frozenset(columns)) for name, columns in columns_of.items() if columns]


def _columns(feature: str, used: set[str]) -> set[str]:
    """The columns of a feature: its own, or those of a sequence."""
    return {column for column in used if column.partition(".")[0] == feature}


def _groups(recipe: Recipe, library: Library) -> Mapping[str, set[str]]:
    features = Features(Context(recipe, library))
    columns_of = {}
    for name in features.group_names:
        group = features.group(name)
        if group is not None:
            columns_of[name] = {*group.features, *group.query, *group.keys}
    return columns_of


def _nodes(compiled: Compiled, module: nn.Module) -> list[Target]:
    """Blocks with a layer of their own, but for heads: what they give is the prediction itself."""
    graph = compiled.graph
    nodes = []
    for name, part in sorted(owners(compiled, module).items()):
        node = graph[name]
        if isinstance(node.op, Block) and node.role != "head" and not node.is_loss:
            nodes.append(Target(name, part=part))
    return nodes


def owners(compiled: Compiled, module: nn.Module) -> Mapping[str, nn.Module]:
    """Node -> the layer that the generated module keeps for it."""
    attributes = compiled.source.attributes
    return {node: module.get_submodule(attribute) for node, attribute in attributes.items()}


def take_rows(value: Tensor | Jagged, order: Tensor) -> Tensor | Jagged:
    """The rows of a tensor [B, ...] or of a history in that order; bags in a history too."""
    if not isinstance(value, Jagged):
        return value.index_select(0, order)
    starts = (value.lengths.cumsum(0) - value.lengths).index_select(0, order)
    lengths = value.lengths.index_select(0, order)
    shifts = starts - (lengths.cumsum(0) - lengths)
    total = int(lengths.sum())
    steps = torch.arange(total, device=order.device)
    steps = steps + shifts.repeat_interleave(lengths, output_size=total)
    inner: Any = value.values  # a history of bags holds a Jagged
    weights = None if value.weights is None else value.weights.index_select(0, steps)
    return Jagged(take_rows(inner, steps), lengths, weights)  # type: ignore[arg-type]
