"""What every source of rows offers, and the chunks of raw rows that flow out of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graphrec.data.chunk import Array

__all__ = ["CHUNK_ROWS", "Raw", "Source", "Unit"]

CHUNK_ROWS = 65_536
"""Largest number of rows read, encoded and handed on at a time."""


@dataclass
class Raw:
    """Some rows as they stand in the data: an Arrow record batch, and where they come from.

    `start` is the 0-based row in `file` of the first row, `index` [B] those of all rows where some
    were left out. `read` counts the rows read for it, `malformed` those that could not be parsed.
    `done` is about the share of the unit that has been read with it.
    """

    table: Any
    file: str
    start: int
    read: int
    malformed: int = 0
    index: Array | None = None
    done: float = 1.0

    def row(self, position: int) -> int:
        """1-based number in the file of the row at `position`."""
        return 1 + (self.start + position if self.index is None else int(self.index[position]))


@dataclass(frozen=True)
class Unit:
    """A part of a source that is read on its own: some row groups, or a whole CSV file."""

    file: int
    parts: tuple[int, ...] = ()
    start: int = 0
    num_rows: int | None = None


class Source(Protocol):
    """Rows that can be read again and again, always in the same units."""

    @property
    def name(self) -> str:
        """What it is, for messages."""

    @property
    def num_rows(self) -> int | None:
        """Rows in it, None where only reading tells."""

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest that changes with the data."""

    def check(self) -> None:
        """Raise DataError where the rows are not those any more that were opened."""

    @property
    def mixed(self) -> bool:
        """Whether its units are in no order that could matter."""

    def units(self) -> list[Unit]:
        """The parts, in the order of the data."""

    def read(
        self, unit: Unit, columns: Sequence[str] | None = None, rows: int = CHUNK_ROWS
    ) -> Iterator[Raw]:
        """The unit's rows, at most `rows` at a time; the plan's columns, or only `columns`."""
