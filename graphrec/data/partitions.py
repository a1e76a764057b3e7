"""Columns that stand in the path only: `dt=3/hour=07/a.parquet` has `dt` and `hour`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

__all__ = ["partitions_of"]

_NULL = "__HIVE_DEFAULT_PARTITION__"


def partitions_of(path: Path) -> dict[str, str | None]:
    """Names and values of a file's folders `name=value`, from the outermost in.

    >>> partitions_of(Path("logs/dt=2024-01-05/city=S%C3%A3o/a.csv"))
    {'dt': '2024-01-05', 'city': 'São'}
    """
    values: dict[str, str | None] = {}
    for part in path.parts[:-1]:
        name, equals, value = part.partition("=")
        if equals and name:
            values[unquote(name)] = None if value == _NULL else unquote(value)
    return values
