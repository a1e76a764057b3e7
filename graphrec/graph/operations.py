"""What nodes do, apart from blocks: expressions, groups of columns, and the columns themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from graphrec.blocks.base import Block
from graphrec.recipe.expressions import Expression

__all__ = [
    "Arrangement",
    "Broadcast",
    "Concat",
    "Dropped",
    "Group",
    "Lookup",
    "Operation",
    "Ref",
    "Side",
    "Split",
    "Table",
]

Side = Literal["request", "candidates", "both"]
"""One row for a request, one row for each candidate, or columns of both kinds side by side."""


@dataclass(frozen=True, order=True)
class Ref:
    """One output of one node, written `mmoe.ctr`; port `""` is the only output of a plain node."""

    node: str
    port: str = ""

    def __str__(self) -> str:
        return f"{self.node}.{self.port}" if self.port else self.node


@dataclass(frozen=True)
class Table:
    """An embedding table: `rows` includes the row for unseen values; None until fitted to data."""

    name: str
    rows: int | None
    dim: int
    init: str = "normal(0.01)"
    trainable: bool = True
    dtype: str = "fp32"


@dataclass(frozen=True)
class Lookup:
    """A column of the batch and how it becomes a vector.

    `kind`: `id` (looked up in `table`; pooled if `pool`), `sequence` (looked up step by step),
    `dense` (raw numbers), `scaled` (number x learned vector) or `autodis`. `side` is `request`
    where all candidates of a request have one value of it, else `candidates`.
    """

    column: str
    kind: Literal["id", "sequence", "dense", "dense_sequence", "scaled", "autodis"]
    dim: int
    table: str | None = None
    pool: str | None = None
    width: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    side: Side = "candidates"


@dataclass(frozen=True)
class Group:
    """What a source node offers: the columns of a feature group, or a query paired with a sequence.

    `features` are the columns of a feature group in their order. For a paired group or a plain
    sequence, `query` are the target's columns and `keys` the sequence's, pair by pair.
    In a scoring graph the rows of a port's shape say whose batch it is read from.
    """

    features: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    sequence: str | None = None
    regularize: Mapping[str, Any] = field(default_factory=dict)


class Arrangement:
    """What only a scoring graph has: how a request's one row meets the rows of its candidates."""

    @property
    def text(self) -> str:
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Split(Arrangement):
    """Columns of the request and of the candidates side by side, in pieces of these widths.

    The pieces stand in turn, the first of the request; a Linear reads such a value in two parts.
    """

    layout: tuple[int, ...]


@dataclass(frozen=True)
class Concat(Arrangement):
    """Values side by side, of which some have one row: a split value."""


@dataclass(frozen=True)
class Broadcast(Arrangement):
    """A value of one row, or a split one, as a row for every candidate."""


@dataclass(frozen=True)
class Dropped(Arrangement):
    """The features of a regularized group, as its variational dropout leaves them."""

    group: str


Operation = Block | Expression | Group | Split | Concat | Broadcast | Dropped
"""What a node may do."""
