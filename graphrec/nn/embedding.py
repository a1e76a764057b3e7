"""`Embeddings`: all tables of a model, and every column of a batch looked up once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from graphrec.nn.gather import Part, gather
from graphrec.nn.looked import Looked, Place
from graphrec.nn.native import RowKernel, choose
from graphrec.nn.packing import Bank, Pack, banks_of, packs_of
from graphrec.nn.pieces import PiecewiseModule
from graphrec.nn.reading import Features, bag, embed_numbers, jagged, plain, rows_of
from graphrec.nn.tables import AutoDis, Column, Dense, Lookup, Table, sized

__all__ = ["Embeddings"]


class Embeddings(PiecewiseModule):
    """Embedding tables and the columns that read them.

    `rows` gives the number of rows of tables declared with `FIT`. Parameters are packed
    (`named_parameters` shows `packed_16`, one tensor for all trainable tables of width 16), but
    `state_dict` has one tensor a table, `<table>.weight` [rows, dim], `<column>.weight`
    [width, dim] for the learned vectors of numbers, and `<column>.w`, `.m`, `.meta` for AutoDis.
    Gradients of packed tables are sparse. `kernel` says what runs on the CPU: `auto` (the compiled
    kernel of graphrec.nn.native if this machine can have it), `native` (or an error) or `torch`.

    >>> shop = Embeddings([Table("item", rows=11, dim=2)], [Lookup("bought", table="item")])
    >>> shop({"bought": torch.tensor([1, 10, 1])}).concat(["bought"]).shape, list(shop.state_dict())
    (torch.Size([3, 2]), ['item.weight'])
    """

    def __init__(
        self,
        tables: Sequence[Table],
        lookups: Sequence[Column],
        rows: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.kernel = "auto"
        columns = sorted(lookups, key=lambda lookup: lookup.column)
        self.packs: list[Pack] = packs_of(sized(tables, rows), columns)
        self.banks: list[Bank] = banks_of(columns)
        self.pieces = tuple(p for pack in self.packs for p in pack.pieces)
        self.pieces += tuple(p for bank in self.banks for p in bank.pieces)
        _check(columns, [piece.key for piece in self.pieces])
        dense = [c for c in columns if isinstance(c, Dense) and c.dim is None]
        self._steps = [column for column in dense if column.sequence]
        # Columns of one bank are neighbours among the raw numbers: each bank reads a view.
        self._numbers: list[Dense | AutoDis] = [c for bank in self.banks for c in bank.columns]
        self._numbers += [column for column in dense if not column.sequence]
        for pack in self.packs:
            weight = torch.empty(pack.rows, pack.dim, dtype=pack.dtype)
            self.register_parameter(pack.name, nn.Parameter(weight, requires_grad=pack.trainable))
            bounds = torch.empty_like(pack.bounds(), device=weight.device)
            self.register_buffer(f"bounds_{pack.name}", bounds, persistent=False)
        for bank in self.banks:
            for name, shape in bank.shapes.items():
                self.register_parameter(name, nn.Parameter(torch.empty(shape)))
        self._places, self._raw = self._layout()
        self.reset_parameters()

    def reset(self, seed: int) -> None:
        """Draw new weights: each table from `seed` and its own name, whatever else is declared."""
        super().reset(seed)
        for pack in self.packs:
            # Here, so that a module made on the meta device is whole after `to_empty` and `reset`.
            self.get_buffer(f"bounds_{pack.name}").copy_(pack.bounds())

    def forward(self, features: Features) -> Looked:
        """Look every column up once; ids are rows of their table."""
        if torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting():
            # Compiled graphs have no sparse gradients: look up between them. Not a decorator,
            # which would import torch._dynamo, over a second, for everyone.
            eager: Callable[[Features], Looked]
            eager = torch.compiler.disable(self._look_up)  # type: ignore[no-untyped-call]
            return eager(features)
        return self._look_up(features)

    def _look_up(self, features: Features) -> Looked:
        sources: dict[str, Tensor] = {}
        lengths: dict[str, Tensor] = {}
        for pack in self.packs:
            weight = self.get_parameter(pack.name)
            kernel = None if torch.compiler.is_compiling() else choose(self.kernel, weight)[0]
            parts = self._parts(pack, features, lengths, kernel)
            if parts:
                read = gather(weight, list(parts.values()), kernel)
                wide = {name: len(group) * pack.dim for name, group in _groups(pack).items()}
                for name, values in zip(parts, read, strict=True):
                    sources[name] = values.view(-1, wide[name])
        for column in self._steps:
            steps = jagged(features, column.column)
            sources[f"steps/{column.column}"] = steps.values.reshape(-1, column.width)
            lengths[column.column] = steps.lengths
        if self._numbers:
            numbers = [plain(features, c.column).reshape(-1, _width(c)) for c in self._numbers]
            sources["raw"] = numbers[0] if len(numbers) == 1 else torch.cat(numbers, dim=1)
        for bank in self.banks:
            first, last = bank.columns[0].column, bank.columns[-1].column
            x = sources["raw"][:, self._raw[first].start : self._raw[last].stop]
            weights = [self.get_parameter(name) for name in bank.shapes]
            sources[bank.name] = embed_numbers(bank, weights, x)
        return Looked(sources, self._places, self._raw, lengths)

    def _parts(
        self,
        pack: Pack,
        features: Features,
        lengths: dict[str, Tensor],
        kernel: RowKernel | None,
    ) -> dict[str, Part]:
        """What to read from a pack, by the name of the source it becomes."""
        parts: dict[str, Part] = {}
        bounds, at = self.get_buffer(f"bounds_{pack.name}"), 0
        for name, group in _groups(pack).items():
            limits, at = bounds[:, at : at + len(group)], at + len(group)
            if group[0].pool is not None:
                lookup = group[0].column
                values = jagged(features, lookup)
                if group[0].sequence:  # several ids a step: steps of rows, ids of steps
                    lengths[lookup] = values.lengths
                    values = jagged({lookup: values.values}, lookup)
                parts[name] = bag(values, limits, group[0], kernel)
            elif group[0].sequence:
                steps = [jagged(features, lookup.column) for lookup in group]
                lengths.update((c.column, s.lengths) for c, s in zip(group, steps, strict=True))
                parts[name] = Part(rows_of([step.values for step in steps], limits, group, kernel))
            else:
                ids = [plain(features, lookup.column) for lookup in group]
                parts[name] = Part(rows_of(ids, limits, group, kernel))
        return parts

    def _layout(self) -> tuple[dict[str, Place], dict[str, Place]]:
        """Places of all columns in their sources, and of raw numbers among the raw ones."""
        places: dict[str, Place] = {}
        raw = _line("raw", [(column.column, _width(column)) for column in self._numbers])
        places.update(raw)
        for pack in self.packs:
            for name, group in _groups(pack).items():
                places.update(_line(name, [(lookup.column, pack.dim) for lookup in group]))
        for column in self._steps:
            places.update(_line(f"steps/{column.column}", [(column.column, column.width)]))
        for bank in self.banks:
            places.update(_line(bank.name, [(column.column, bank.dim) for column in bank.columns]))
        return places, raw


def _groups(pack: Pack) -> dict[str, list[Lookup]]:
    """Columns that are read together, by the name of their source."""
    singles = {pack.name: pack.singles} if pack.singles else {}
    sequences = {f"{pack.name}/{name}": found for name, found in pack.sequences.items()}
    return {**singles, **sequences, **{f"{pack.name}/{c.column}": [c] for c in pack.bags}}


def _line(source: str, widths: Sequence[tuple[str, int]]) -> dict[str, Place]:
    places, start = {}, 0
    for name, width in widths:
        places[name] = Place(source, start, start + width)
        start += width
    return places


def _width(column: Dense | AutoDis) -> int:
    return column.width if isinstance(column, Dense) else 1


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
