"""How `Embeddings` lays out tables and columns: few large tensors instead of many small ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch

from graphrec.nn.parameter_slice import ParameterSlice
from graphrec.nn.tables import AutoDis, Column, Dense, Lookup, Table

__all__ = ["DenseGroup", "TableGroup", "dense_groups", "table_groups", "sequence_of"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass
class TableGroup:
    """Tables of equal width, storage and trainability in one tensor [rows, dim].

    `tables` are their row ranges; `singles`, `sequences` and `bags` the columns that read them.
    """

    name: str
    dim: int
    dtype: torch.dtype
    trainable: bool
    rows: int = 0
    tables: dict[str, tuple[int, int]] = field(default_factory=dict)
    pieces: list[ParameterSlice] = field(default_factory=list)
    singles: list[Lookup] = field(default_factory=list)
    sequences: dict[str, list[Lookup]] = field(default_factory=dict)
    bags: list[Lookup] = field(default_factory=list)

    def add(self, table: Table, rows: int) -> None:
        """Give the table the next rows."""
        start, self.rows = self.rows, self.rows + rows
        self.tables[table.name] = (start, self.rows)
        key, shape = f"{table.name}.weight", (rows, self.dim)
        self.pieces.append(ParameterSlice(key, self.name, start, self.rows, shape, table.init))

    def read(self, lookup: Lookup) -> None:
        """Let the column read its table here."""
        if lookup.pool is not None:
            self.bags.append(lookup)
        elif lookup.sequence:
            self.sequences.setdefault(sequence_of(lookup.column), []).append(lookup)
        else:
            self.singles.append(lookup)

    def bounds(self) -> torch.Tensor:
        """First row and end of each column's table, [2, columns]: singles, sequences, bags."""
        reads = [
            *self.singles,
            *(c for sequence in self.sequences.values() for c in sequence),
            *self.bags,
        ]
        ranges = [self.tables[lookup.table] for lookup in reads]
        return torch.tensor(ranges, dtype=torch.int64, device="cpu").view(-1, 2).T.contiguous()


@dataclass(frozen=True)
class DenseGroup:
    """Dense columns computed together: learned vectors, or AutoDis with equal settings."""

    name: str
    columns: tuple[Dense | AutoDis, ...]
    dim: int
    pieces: tuple[ParameterSlice, ...]
    shapes: Mapping[str, tuple[int, ...]]


def sequence_of(column: str) -> str:
    """The history a column belongs to.

    >>> sequence_of("click_50.video_id")
    'click_50'
    """
    return column.partition(".")[0]


def table_groups(
    tables: Mapping[str, tuple[Table, int]], columns: Iterable[Column]
) -> list[TableGroup]:
    """The packed tensors for these tables, with the (sorted) columns that read them."""
    groups: dict[str, TableGroup] = {}
    by_table: dict[str, TableGroup] = {}
    for table, rows in tables.values():
        kind = "packed" if table.trainable else "frozen"
        name = f"{kind}_{table.dim}" + ("" if table.dtype == "fp32" else f"_{table.dtype}")
        if name not in groups:
            groups[name] = TableGroup(name, table.dim, DTYPES[table.dtype], table.trainable)
        groups[name].add(table, rows)
        by_table[table.name] = groups[name]
    for column in columns:
        if isinstance(column, Lookup):
            if column.table not in by_table:
                raise ValueError(
                    f"column `{column.column}` reads table `{column.table}`: no such table"
                )
            by_table[column.table].read(column)
    return list(groups.values())


def dense_groups(columns: Iterable[Column]) -> list[DenseGroup]:
    """The learned parts of dense columns, those computed together in one group."""
    vectors: dict[int, list[Dense]] = {}
    autodis: dict[AutoDis, list[AutoDis]] = {}
    for column in columns:
        if isinstance(column, AutoDis):
            settings = AutoDis("", column.dim, column.channels, column.temperature, column.skip)
            autodis.setdefault(settings, []).append(column)
        elif isinstance(column, Dense) and column.dim is not None:
            vectors.setdefault(column.dim, []).append(column)
    dense_groups = [_vectors(dim, members) for dim, members in vectors.items()]
    dense_groups += [
        _autodis(f"autodis_{n}", s, members) for n, (s, members) in enumerate(autodis.items())
    ]
    return dense_groups


def _vectors(dim: int, columns: list[Dense]) -> DenseGroup:
    name, pieces, start = f"vectors_{dim}", [], 0
    for column in columns:
        stop = start + column.width
        key, shape = f"{column.column}.weight", (column.width, dim)
        pieces.append(ParameterSlice(key, name, start, stop, shape, column.init))
        start = stop
    return DenseGroup(name, tuple(columns), dim, tuple(pieces), {name: (start, dim)})


def _autodis(name: str, settings: AutoDis, columns: list[AutoDis]) -> DenseGroup:
    channels = settings.channels
    shapes = {"w": (channels,), "m": (channels, channels), "meta": (channels, settings.dim)}
    # w and m as nn.Linear draws them, meta embeddings like tables.
    inits = {"w": "uniform(1)", "m": f"uniform({channels**-0.5})", "meta": "normal(0.01)"}
    pieces = tuple(
        ParameterSlice(f"{column.column}.{part}", f"{name}_{part}", i, i + 1, shape, inits[part])
        for i, column in enumerate(columns)
        for part, shape in shapes.items()
    )
    whole = {f"{name}_{part}": (len(columns), *shape) for part, shape in shapes.items()}
    return DenseGroup(name, tuple(columns), settings.dim, pieces, whole)
