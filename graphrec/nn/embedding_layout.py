"""Which columns `Embeddings` reads from where in one forward, and where they come to lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphrec.nn.embedding_outputs import Columns, Place
from graphrec.nn.parameter_slice import ParameterSlice
from graphrec.nn.table_group import DenseGroup, TableGroup
from graphrec.nn.tables import AutoDis, Dense, Lookup

__all__ = ["Group", "Layout", "Numbers", "width_of"]


@dataclass(frozen=True)
class Group:
    """Columns of one packed that are read together into `source`; `at` are theirs of its bounds.

    Groups of equal `key` read the same columns at the same rows.
    """

    source: str
    lookups: tuple[Lookup, ...]
    at: tuple[int, ...]
    key: str  # not the values themselves, which would be hashed with every batch


@dataclass(frozen=True)
class Numbers:
    """The columns of a vectors that are there, and the rows of its parameters that are theirs."""

    vectors: DenseGroup
    rows: dict[str, tuple[int, ...]] | None  # None: all of them


@dataclass(frozen=True)
class Layout:
    """One set of columns: what to read from each packed table, the raw numbers, and all places."""

    groups: dict[str, tuple[Group, ...]]
    steps: tuple[Dense, ...]
    numbers: tuple[Dense | AutoDis, ...]
    dense_groups: tuple[Numbers, ...]
    columns: Columns

    @classmethod
    def of(
        cls,
        table_groups: Sequence[TableGroup],
        dense_groups: Sequence[DenseGroup],
        dense: Sequence[Dense],
        present: frozenset[str] | None = None,
    ) -> Layout:
        """The layout of these columns, or of those of them that are `present`.

        `dense` are the columns of numbers without a learned part.
        """
        groups = {packed.name: _groups(packed, present) for packed in table_groups}
        shown = [column for column in dense if present is None or column.column in present]
        steps = tuple(column for column in shown if column.sequence)
        parts = tuple(_part(vectors, present) for vectors in dense_groups)
        parts = tuple(part for part in parts if part.vectors.columns)
        # Columns of one vectors are neighbours among the raw numbers: each vectors reads a view.
        numbers: list[Dense | AutoDis] = [c for part in parts for c in part.vectors.columns]
        numbers += [column for column in shown if not column.sequence]
        raw = _line("raw", [(column.column, width_of(column)) for column in numbers])
        places = dict(raw)
        for packed in table_groups:
            for group in groups[packed.name]:
                places.update(_line(group.source, [(c.column, packed.dim) for c in group.lookups]))
        for column in steps:
            places.update(_line(f"steps/{column.column}", [(column.column, column.width)]))
        for part in parts:
            vectors = part.vectors
            places.update(
                _line(
                    vectors.name,
                    [(column.column, vectors.dim) for column in vectors.columns],
                )
            )
        lookups = [lookup for some in groups.values() for group in some for lookup in group.lookups]
        histories = [lookup.column for lookup in lookups if lookup.sequence]
        histories += [column.column for column in steps]
        return cls(groups, steps, tuple(numbers), parts, Columns(places, raw, histories))


def width_of(column: Dense | AutoDis) -> int:
    """How many numbers a row has in this column."""
    return column.width if isinstance(column, Dense) else 1


def _groups(packed: TableGroup, present: frozenset[str] | None) -> tuple[Group, ...]:
    reads = [(packed.name, packed.singles)]
    reads += [(f"{packed.name}/{name}", sequence) for name, sequence in packed.sequences.items()]
    reads += [(f"{packed.name}/{c.column}", [c]) for c in packed.bags]
    groups, start = [], 0
    for source, lookups in reads:
        shown = [
            (c, i) for i, c in enumerate(lookups, start) if present is None or c.column in present
        ]
        start += len(lookups)
        if shown:
            columns, at = zip(*shown, strict=True)
            key = repr([(c, *packed.tables[c.table]) for c in columns])
            groups.append(Group(source, columns, at, key))
    return tuple(groups)


def _part(vectors: DenseGroup, present: frozenset[str] | None) -> Numbers:
    if present is None or all(column.column in present for column in vectors.columns):
        return Numbers(vectors, None)
    columns = tuple(column for column in vectors.columns if column.column in present)
    keys = {column.column for column in columns}
    pieces: list[ParameterSlice] = []
    rows: dict[str, tuple[int, ...]] = dict.fromkeys(vectors.shapes, ())
    for piece in vectors.pieces:
        if piece.key.rpartition(".")[0] in keys:
            start = len(rows[piece.parameter])
            rows[piece.parameter] += tuple(range(piece.start, piece.stop))
            pieces.append(replace(piece, start=start, stop=len(rows[piece.parameter])))
    return Numbers(replace(vectors, columns=columns, pieces=tuple(pieces)), rows)


def _line(source: str, widths: Sequence[tuple[str, int]]) -> dict[str, Place]:
    places, start = {}, 0
    for name, width in widths:
        places[name] = Place(source, start, start + width)
        start += width
    return places
