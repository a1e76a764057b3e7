"""How files are divided into stretches that are read on their own, and their rows into parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphrec.data.filesource import FileSource
from graphrec.data.source import Raw, Unit

__all__ = ["Stretch", "part_name", "read_behind", "stretches"]


@dataclass(frozen=True)
class Stretch:
    """Neighbouring units of one file. `number` counts from 0 in the order of the data."""

    number: int
    units: tuple[Unit, ...]


def stretches(source: FileSource, rows: int) -> list[Stretch]:
    """Row groups of a file up to `rows` together, or a larger one; a CSV file as a whole."""
    groups: list[list[Unit]] = []
    held = 0
    for unit in source.units():
        size = rows if unit.num_rows is None else unit.num_rows
        if not groups or groups[-1][0].file != unit.file or held + size > rows:
            groups.append([])
            held = 0
        groups[-1].append(unit)
        held += size
    return [Stretch(number, tuple(units)) for number, units in enumerate(groups)]


def read_behind(source: FileSource, stretch: Stretch, rows: int) -> Iterator[Raw]:
    """The raw chunks of a stretch behind its first `rows` read ones.

    The chunks of a file are the same at every reading, so `rows` is always the end of one.
    """
    for unit in stretch.units:
        if unit.num_rows is not None and unit.num_rows <= rows:
            rows -= unit.num_rows
            continue
        for raw in source.read(unit):
            if rows > 0:
                rows -= raw.read
                assert rows >= 0, "a chunk of another size than at the first reading"
            else:
                yield raw


def part_name(stretch: int, part: int, ending: str) -> str:
    """Names in the order of the rows: `part-000003-0001.parquet`."""
    return f"part-{stretch:06d}-{part:04d}.{ending}"
