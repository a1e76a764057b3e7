"""What generated code says about its columns and the embedding tables they read.

COLUMNS = [
    Lookup("video_id", rows=1001, dim=16),  # with a table of its own
    Lookup("seen.video_id", "video_id", sequence=True),  # a history in the same table
    *Lookup.each("C1..C26", rows=FIT, dim=16),
    Dense("price", dim=16),
]
self.embeddings = Embeddings(COLUMNS, rows=rows)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Self

import torch
from torch import Tensor

__all__ = [
    "FIT",
    "AutoDis",
    "Column",
    "Dense",
    "Fit",
    "Lookup",
    "Table",
    "declared",
    "fill",
    "first_order",
    "named_generator",
    "sized",
]


class Fit:
    """Type of `FIT`: the number of rows is known once the vocabulary is fitted to data."""

    def __repr__(self) -> str:
        return "FIT"

    def __reduce__(self) -> str:
        return "FIT"


FIT: Final = Fit()


@dataclass(frozen=True)
class Table:
    """An embedding table [rows, dim]; `rows` includes the last one, for unseen and null values.

    `init` is `normal(std)`, `uniform(bound)` or `zeros`; `dtype` (`fp32`, `bf16`) is how rows are
    stored, what is looked up is always float32.
    """

    name: str
    rows: int | Fit
    dim: int
    init: str = "normal(0.01)"
    trainable: bool = True
    dtype: Literal["fp32", "bf16"] = "fp32"


class _Family:
    """What has a column each: several columns of equal settings are declared at once."""

    @classmethod
    def each(cls, *names: str, **settings: Any) -> list[Self]:
        """One for every name; `C1..C26` stands for the 26 names from C1 to C26.

        >>> [column.column for column in Dense.each("price", "I1..I3", dim=8)]
        ['price', 'I1', 'I2', 'I3']
        """
        return [cls(name, **settings) for written in names for name in _spelled_out(written)]  # type: ignore[call-arg]


def _spelled_out(names: str) -> Iterator[str]:
    ends = re.fullmatch(r"(.*?)(\d+)\.\.\1(\d+)", names)
    if ends is None:
        yield names
    else:
        yield from (f"{ends[1]}{number}" for number in range(int(ends[2]), int(ends[3]) + 1))


@dataclass(frozen=True)
class Lookup(_Family):
    """A column of ids looked up in `table`, by default the one of its own name.

    Single ids [B] unless it is a list: `pool` (`sum`, `mean`) makes one vector of a row's values,
    `sequence` looks up every step of a history (with `pool`: of several ids a step). With `rows`
    and `dim` it declares its table too; `init`, `trainable` and `dtype` are those of `Table`.
    """

    column: str
    table: str = ""
    pool: Literal["sum", "mean"] | None = None
    sequence: bool = False
    rows: int | Fit | None = None
    dim: int | None = None
    init: str = "normal(0.01)"
    trainable: bool = True
    dtype: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        if not self.table:
            object.__setattr__(self, "table", self.column)
        if (self.rows is None) != (self.dim is None):
            raise ValueError(f"column `{self.column}`: a table needs both `rows` and `dim`")


@dataclass(frozen=True)
class Dense(_Family):
    """A column of numbers [B, width]; with `dim` they scale learned vectors [width, dim].

    `sequence`: numbers of every step of a history, [T, width], always as they are.
    """

    column: str
    dim: int | None = None
    width: int = 1
    sequence: bool = False
    init: str = "normal(0.01)"


@dataclass(frozen=True)
class AutoDis(_Family):
    """A number [B, 1] made an embedding by soft bucketing (Guo et al., KDD 2021).

    h = leaky_relu(w x); softmax((m h + skip h) / temperature) weighs `channels` meta embeddings.
    """

    column: str
    dim: int
    channels: int
    temperature: float = 1.0
    skip: float = 0.1


Column = Lookup | Dense | AutoDis


def declared(declarations: Iterable[Table | Column]) -> tuple[list[Table], list[Column]]:
    """Tables and columns apart: a lookup that declares its table is both."""
    tables: list[Table] = []
    columns: list[Column] = []
    for one in declarations:
        if isinstance(one, Table):
            tables.append(one)
            continue
        if isinstance(one, Lookup) and one.rows is not None and one.dim is not None:
            tables.append(Table(one.table, one.rows, one.dim, one.init, one.trainable, one.dtype))
            # without its table: lookups of one column in two collections are equal then
            one = Lookup(one.column, one.table, one.pool, one.sequence)
        columns.append(one)
    return tables, columns


def first_order(
    declarations: Iterable[Table | Column], names: Iterable[str] | None = None, width: int = 1
) -> list[Table | Column]:
    """The same columns (or those of `names`, no histories) with `width` weights per value, 0 first.

    >>> first_order([Lookup("item", rows=9, dim=16), Dense("price")])[1]
    Dense(column='price', dim=1, width=1, sequence=False, init='zeros')
    """
    tables, columns = declared(declarations)
    wanted = None if names is None else set(names)
    weight_columns: list[Column] = []
    for column in columns:
        steps = not isinstance(column, AutoDis) and column.sequence
        if not steps and (wanted is None or column.column in wanted):
            of = column.width if isinstance(column, Dense) else 1
            same = isinstance(column, Lookup)
            weight_columns.append(column if same else Dense(column.column, width, of, init="zeros"))
    read = {column.table for column in weight_columns if isinstance(column, Lookup)}
    narrow = [replace(t, dim=width, init="zeros") for t in tables if t.name in read]
    return [*narrow, *weight_columns]


def sized(tables: Sequence[Table], rows: Mapping[str, int] | None) -> dict[str, tuple[Table, int]]:
    """Every table with its number of rows, sorted by name; FIT ones are looked up in `rows`."""
    by_name: dict[str, tuple[Table, int]] = {}
    for table in sorted(tables, key=lambda table: table.name):
        if table.name in by_name:
            raise ValueError(f"table `{table.name}` is declared twice")
        if isinstance(table.rows, Fit):
            if table.name not in (rows or {}):
                known = ", ".join(sorted(rows or {})) or "none"
                raise ValueError(
                    f"table `{table.name}` is fitted to data, so its number of rows must be given: "
                    f'rows={{"{table.name}": ...}} (given: {known})'
                )
            count = (rows or {})[table.name]
        else:
            count = table.rows
        if count < 1:
            raise ValueError(f"table `{table.name}` needs at least one row, got {count}")
        by_name[table.name] = (table, count)
    return by_name


def named_generator(seed: int, name: str, device: torch.device) -> torch.Generator:
    """A random generator that depends on `seed` and `name` only, not on what was drawn before."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def fill(values: Tensor, init: str, generator: torch.Generator) -> None:
    """Fill a tensor in place as `init` says: normal(std), uniform(bound) or zeros."""
    match = re.fullmatch(r"(normal|uniform)\(([^()]+)\)|zeros(?:\(\))?", init.replace(" ", ""))
    if match is None:
        raise ValueError(f"init `{init}` is none of normal(std), uniform(bound), zeros")
    with torch.no_grad():
        if match[1] == "normal":
            values.normal_(0.0, float(match[2]), generator=generator)
        elif match[1] == "uniform":
            values.uniform_(-float(match[2]), float(match[2]), generator=generator)
        else:
            values.zero_()
