"""`Embeddings`: all tables of a model, and every column of a batch looked up once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from graphrec.nn.embedding_layout import Group, Layout
from graphrec.nn.embedding_outputs import EmbeddingOutputs
from graphrec.nn.embedding_reader import (
    Features,
    bag,
    embed_numbers,
    jagged,
    numbers_of,
    plain,
    rows_of,
)
from graphrec.nn.gather import ByteRows, Part, byte_rows, gather
from graphrec.nn.huge_pages import in_huge_pages
from graphrec.nn.native import KERNELS, RowKernel, choose
from graphrec.nn.parameter_slice import ParameterSlice
from graphrec.nn.piecewise import PiecewiseModule
from graphrec.nn.seeding import is_drawn_later
from graphrec.nn.table_group import DenseGroup, TableGroup, dense_groups, table_groups
from graphrec.nn.tables import Column, Dense, Table, declared, sized

__all__ = ["Embeddings", "TableBody", "without_tables"]

_TABLES_ON: ContextVar[str | None] = ContextVar("device of trainable tables", default=None)


class TableBody(Protocol):
    """Reads an `Embeddings`' trainable tables where they are: divided among processes."""

    def read(self, group: Group) -> Tensor:
        """What the columns of `group` read from their tables for this batch, [N, columns * dim]."""


@contextmanager
def without_tables() -> Iterator[None]:
    """Any `Embeddings` made inside holds its trainable tables on the meta device: no memory.

    It is whole when `give_body` has said who reads them.
    """
    token = _TABLES_ON.set("meta")
    try:
        yield
    finally:
        _TABLES_ON.reset(token)


_NARROW = 8
"""Bytes need two numbers more for each row: narrower tables would hardly be smaller."""


class Embeddings(PiecewiseModule):
    """Embedding tables and the columns that read them; lookups may declare their tables.

    `rows` gives the number of rows of tables declared with `FIT`. Parameters are packed
    (`named_parameters` shows `packed_16`, one tensor for all trainable tables of width 16), but
    `state_dict` has one tensor a table, `<table>.weight` [rows, dim], `<column>.weight`
    [width, dim] for the learned vectors of numbers, and `<column>.w`, `.m`, `.meta` for AutoDis.
    Gradients of packed tables are sparse. `kernel` (`auto`, `native`, `fbgemm`, `torch`) says what
    runs on the CPU, here and in the tables' optimizer; see `graphrec.nn.native.choose`.

    >>> shop = Embeddings([Lookup("item", rows=11, dim=2), Lookup("bought", table="item")])
    >>> embedded = shop({"item": torch.tensor([1, 10]), "bought": torch.tensor([3, 3])})
    >>> embedded.concat().shape, embedded.concat(["item"]).shape, list(shop.state_dict())
    (torch.Size([2, 4]), torch.Size([2, 2]), ['item.weight'])
    """

    def __init__(
        self,
        columns: Sequence[Table | Column],
        lookups: Sequence[Column] = (),
        rows: Mapping[str, int] | None = None,
        *,
        kernel: str = "auto",
    ) -> None:
        super().__init__()
        if kernel not in KERNELS:
            raise ValueError(f"kernel `{kernel}` of tables is none of {', '.join(KERNELS)}")
        self.kernel = kernel
        tables, every = declared((*columns, *lookups))
        every.sort(key=lambda column: column.column)
        self.table_groups: list[TableGroup] = table_groups(sized(tables, rows), every)
        self.dense_groups: list[DenseGroup] = dense_groups(every)
        self.pieces = tuple(p for packed in self.table_groups for p in packed.pieces)
        self.pieces += tuple(p for vectors in self.dense_groups for p in vectors.pieces)
        _check(every, [piece.key for piece in self.pieces])
        self._columns = [column.column for column in every]
        self._dense = [c for c in every if isinstance(c, Dense) and c.dim is None]
        self.body: TableBody | None = None
        self.seed: int | None = None
        for packed in self.table_groups:
            place = _TABLES_ON.get() if packed.trainable else None
            weight = torch.empty(packed.rows, packed.dim, dtype=packed.dtype, device=place)
            weight = weight if place else in_huge_pages(weight)
            self.register_parameter(
                packed.name, nn.Parameter(weight, requires_grad=packed.trainable)
            )
            bounds = torch.empty_like(packed.bounds(), device=weight.device)
            self.register_buffer(f"bounds_{packed.name}", bounds, persistent=False)
        for vectors in self.dense_groups:
            for name, shape in vectors.shapes.items():
                self.register_parameter(name, nn.Parameter(torch.empty(shape)))
        # Cast with the module, whatever its tables are stored as: the type that layers compute in.
        self.register_buffer("computes", torch.empty(0), persistent=False)
        self._layout = Layout.of(self.table_groups, self.dense_groups, self._dense)
        self._parts: dict[frozenset[str], Layout] = {}
        if is_drawn_later():  # large tables are drawn once: `initialize` follows
            self._fill_bounds()
        else:
            self.reset_parameters()

    def reset(self, seed: int) -> None:
        """Draw new weights: each table from `seed` and its own name, whatever else is declared."""
        super().reset(seed)
        self._fill_bounds()
        self.seed = seed

    def give_body(self, body: TableBody) -> tuple[ParameterSlice, ...]:
        """Let `body` hold and read the trainable tables from now on; returns their pieces.

        What is left here (frozen tables, learned vectors of numbers) stays as it is.
        """
        given = {packed.name for packed in self.table_groups if packed.trainable}
        for name in given:
            delattr(self, name)
            delattr(self, f"bounds_{name}")
        theirs = tuple(piece for piece in self.pieces if piece.parameter in given)
        self.pieces = tuple(piece for piece in self.pieces if piece.parameter not in given)
        self.body = body
        return theirs

    def _fill_bounds(self) -> None:
        # With every reset, so that a module made on the meta device is whole after `to_empty`.
        for packed in self.table_groups:
            if self.body is None or not packed.trainable:
                self.get_buffer(f"bounds_{packed.name}").copy_(packed.bounds())

    def forward(
        self, features: Features, partial: bool = False, like: EmbeddingOutputs | None = None
    ) -> EmbeddingOutputs:
        """Look every column up once; ids are rows of their table.

        With `partial` columns that the features lack are left out, and unknown to the result.
        `like` is what another collection made of the same features: rows that both read are found
        once.
        """
        if torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting():
            # Compiled graphs have no sparse gradients: look up between them. Not a decorator,
            # which would import torch._dynamo, over a second, for everyone.
            eager: Callable[[Features, bool, EmbeddingOutputs | None], EmbeddingOutputs]
            eager = torch.compiler.disable(self._look_up)  # type: ignore[no-untyped-call]
            return eager(features, partial, like)
        return self._look_up(features, partial, like)

    def _look_up(
        self, features: Features, partial: bool, like: EmbeddingOutputs | None
    ) -> EmbeddingOutputs:
        layout = self._layout_of(features) if partial else self._layout
        dtype = self.get_buffer("computes").dtype
        sources: dict[str, Tensor] = {}
        lengths: dict[str, Tensor] = {}
        known = {} if like is None else like.parts
        parts: dict[Any, Part] = {}
        for packed in self.table_groups:
            groups = layout.groups[packed.name]
            if groups and self.body is not None and packed.trainable:
                for group in groups:
                    lengths.update(_lengths(group, features))
                    sources[group.source] = self.body.read(group)
            elif groups:
                weight = self._weight(packed.name)
                kernel = self._kernel_for(weight)
                for group in groups:
                    lengths.update(_lengths(group, features))
                    if group.key in known:
                        parts[group.key] = known[group.key]
                    else:
                        parts[group.key] = self._part(packed, group, features, kernel)
                read = gather(weight, [parts[group.key] for group in groups], kernel)
                for group, values in zip(groups, read, strict=True):
                    columns = values.view(-1, len(group.lookups) * packed.dim)
                    sources[group.source] = columns.to(dtype)
        for column in layout.steps:
            steps = jagged(features, column.column)
            sources[f"steps/{column.column}"] = steps.values.reshape(-1, column.width).to(dtype)
            lengths[column.column] = steps.lengths
        if layout.numbers:
            sources["raw"] = numbers_of(features, layout.numbers).to(dtype)
        raw = layout.columns.raw
        for part in layout.dense_groups:
            first, last = part.vectors.columns[0].column, part.vectors.columns[-1].column
            x = sources["raw"][:, raw[first].start : raw[last].stop]
            weights: list[Tensor] = [self.get_parameter(name) for name in part.vectors.shapes]
            if part.rows is not None:
                weights = [w[list(r)] for w, r in zip(weights, part.rows.values(), strict=True)]
            sources[part.vectors.name] = embed_numbers(part.vectors, weights, x)
        return EmbeddingOutputs(sources, layout.columns, lengths, parts)

    def store_as_bytes(self) -> None:
        """Keep tables as one byte a number, for inference; narrow ones stay as they are.

        In place: `state_dict` has no such tables afterwards, and nothing can be loaded into them.
        """
        for packed in self.table_groups:
            if packed.dim >= _NARROW:
                rows = byte_rows(self.get_parameter(packed.name).detach())
                delattr(self, packed.name)
                for part, tensor in rows._asdict().items():
                    self.register_buffer(f"{packed.name}_{part}", tensor, persistent=False)
        self.pieces = tuple(p for p in self.pieces if p.parameter in self._parameters)

    def _weight(self, name: str) -> Tensor | ByteRows:
        if name in self._parameters or self.separated is not None:
            weight: Tensor = self.get_parameter(name)
            return weight
        return ByteRows(*(self.get_buffer(f"{name}_{part}") for part in ByteRows._fields))

    def _kernel_for(self, weight: Tensor | ByteRows) -> RowKernel | None:
        if isinstance(weight, ByteRows) or torch.compiler.is_compiling():
            return None
        return choose(self.kernel, weight)[0]

    def _layout_of(self, features: Features) -> Layout:
        """The layout of the columns that are there, made once for each set of them."""
        present = frozenset(name for name in self._columns if name in features)
        layout = self._parts.get(present)
        if layout is None:
            layout = Layout.of(self.table_groups, self.dense_groups, self._dense, present)
            if not torch.compiler.is_exporting():  # an export must not change the module
                self._parts[present] = layout
        return layout

    def _part(
        self, packed: TableGroup, group: Group, features: Features, kernel: RowKernel | None
    ) -> Part:
        """What to read from a packed for these columns."""
        bounds, at, lookups = self.get_buffer(f"bounds_{packed.name}"), group.at, group.lookups
        if at[-1] - at[0] + 1 == len(at):
            bounds = bounds[:, at[0] : at[-1] + 1]
        else:
            bounds = bounds.index_select(1, torch.tensor(at, device=bounds.device))
        if lookups[0].pool is not None:
            name = lookups[0].column
            values = jagged(features, name)
            if lookups[0].sequence:  # several ids a step: steps of rows, ids of steps
                values = jagged({name: values.values}, name)
            return bag(values, bounds, lookups[0], kernel)
        if lookups[0].sequence:
            steps = [jagged(features, lookup.column) for lookup in lookups]
            return Part(rows_of([step.values for step in steps], bounds, lookups, kernel))
        ids = [plain(features, lookup.column) for lookup in lookups]
        return Part(rows_of(ids, bounds, lookups, kernel))


def _lengths(group: Group, features: Features) -> dict[str, Tensor]:
    """Steps in every row of each history among the columns."""
    names = [lookup.column for lookup in group.lookups if lookup.sequence]
    return {name: jagged(features, name).lengths for name in names}


def _check(columns: Sequence[Column], keys: Sequence[str]) -> None:
    names = [column.column for column in columns]
    for name in sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"column `{name}` is looked up twice")
    for key in sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"`{key}` would be both a table and the learned vector of a dense column")
    for column in columns:
        if isinstance(column, Dense) and column.sequence and column.dim is not None:
            raise ValueError(
                f"column `{column.column}`: numbers of a history have no learned vector"
            )
