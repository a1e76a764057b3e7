"""What generated code says about its embedding tables and the columns that read them.

TABLES = [Table("movie_id", rows=FIT, dim=16), Table("video_id", rows=1001, dim=16)]
LOOKUPS = [Lookup("video_id", table="video_id"), Dense("price", dim=16)]
self.embeddings = Embeddings(TABLES, LOOKUPS, rows)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

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
    "fill",
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


@dataclass(frozen=True)
class Lookup:
    """A column of ids looked up in `table`.

    Single ids [B] unless it is a list: `pool` (`sum`, `mean`) makes one vector of a row's values,
    `sequence` looks up every step of a history (with `pool`: of several ids a step).
    """

    column: str
    table: str
    pool: Literal["sum", "mean"] | None = None
    sequence: bool = False


@dataclass(frozen=True)
class Dense:
    """A column of numbers [B, width]; with `dim` they scale learned vectors [width, dim].

    `sequence`: numbers of every step of a history, [T, width], always as they are.
    """

    column: str
    dim: int | None = None
    width: int = 1
    sequence: bool = False
    init: str = "normal(0.01)"


@dataclass(frozen=True)
class AutoDis:
    """A number [B, 1] made an embedding by soft bucketing (Guo et al., KDD 2021).

    h = leaky_relu(w x); softmax((m h + skip h) / temperature) weighs `channels` meta embeddings.
    """

    column: str
    dim: int
    channels: int
    temperature: float = 1.0
    skip: float = 0.1


Column = Lookup | Dense | AutoDis


def sized(tables: Sequence[Table], rows: Mapping[str, int] | None) -> dict[str, tuple[Table, int]]:
    """Every table with its number of rows, sorted by name; FIT ones are looked up in `rows`."""
    found: dict[str, tuple[Table, int]] = {}
    for table in sorted(tables, key=lambda table: table.name):
        if table.name in found:
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
        found[table.name] = (table, count)
    return found


def named_generator(seed: int, name: str, device: torch.device) -> torch.Generator:
    """A random generator that depends on `seed` and `name` only, not on what was drawn before."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def fill(values: Tensor, init: str, generator: torch.Generator) -> None:
    """Fill a tensor in place as `init` says: normal(std), uniform(bound) or zeros."""
    found = re.fullmatch(r"(normal|uniform)\(([^()]+)\)|zeros(?:\(\))?", init.replace(" ", ""))
    if found is None:
        raise ValueError(f"init `{init}` is none of normal(std), uniform(bound), zeros")
    with torch.no_grad():
        if found[1] == "normal":
            values.normal_(0.0, float(found[2]), generator=generator)
        elif found[1] == "uniform":
            values.uniform_(-float(found[2]), float(found[2]), generator=generator)
        else:
            values.zero_()
