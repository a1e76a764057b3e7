"""Rows as mere numbers, in the place of a source and an encoder: for the order of an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from graphrec.data import Counts, Source
from graphrec.data.chunk import Chunk
from graphrec.data.source import CHUNK_ROWS, Unit
from graphrec.distributed.spans import UnitRows, place
from graphrec.recipe.model import Recipe

__all__ = ["RowEncoder", "RowSource"]


@dataclass(frozen=True)
class _Rows:
    """Rows `start` up to `stop` of a unit; `done` is the share of it that is behind them then."""

    unit: int
    start: int
    stop: int
    done: float


class RowSource:
    """The units of a source, without their cells; everything else is the source's own."""

    def __init__(self, source: Source, units: Sequence[Unit], known: Sequence[UnitRows]) -> None:
        self._source, self._list, self._known = source, list(units), known
        self._numbers = {unit: number for number, unit in enumerate(units)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def num_rows(self) -> int | None:
        return sum(unit.kept for unit in self._known)

    @property
    def fingerprint(self) -> str:
        return self._source.fingerprint

    def units(self) -> list[Unit]:
        return list(self._list)

    def read(
        self, unit: Unit, columns: Sequence[str] | None = None, rows: int = CHUNK_ROWS
    ) -> Iterator[Any]:
        number, start = self._numbers[unit], 0
        for size, done in self._known[number].chunks:  # counted in the loader's own steps
            yield _Rows(number, start, start + size, done)
            start += size


class RowEncoder:
    """Rows without the bad ones, as their places."""

    def __init__(self, recipe: Recipe, known: Sequence[UnitRows]) -> None:
        self.recipe, self._known = recipe, known

    def encode_raw(self, raw: Any) -> tuple[Chunk, Counts]:
        rows = self._known[raw.unit].good(raw.start, raw.stop)
        return Chunk(len(rows), {"place": place(raw.unit, rows)}), Counts(read=len(rows))
