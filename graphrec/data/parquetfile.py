"""One Parquet file, streamed row group by row group."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from graphrec.data.faults import bad_data
from graphrec.data.forms import is_list, settled_table
from graphrec.data.plan import Plan
from graphrec.data.source import CHUNK_ROWS, Raw, Unit
from graphrec.ground.errors import DataError

__all__ = ["ParquetFile"]

_BUFFER = 1 << 20  # bytes read ahead per column, instead of whole row groups
_INDEX = 3  # bytes: at most, for an index into a dictionary page
_DICTIONARY = 2 << 20  # bytes of the page itself: writers stop at about half of it


class ParquetFile:
    """The footer of a file; `read` opens it again, so that threads do not share a handle."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path, self.label = path, str(path)
        try:
            self._footer = pq.read_metadata(path)
            schema = self._footer.schema.to_arrow_schema()
        except (OSError, pa.ArrowException) as fault:
            raise unreadable(self.label, fault, "Parquet") from None
        self.names = list(schema.names)
        self.types: dict[str, Any] = {
            n: schema.field(n).type for n in set(self.names) if self.names.count(n) == 1
        }
        self.num_rows: int | None = self._footer.num_rows
        self._columns = [c for c in plan.columns if c in self.types]
        # Texts come as dictionaries: what is done per value is then done once per distinct value.
        texts = {c for c in self._columns if c in plan.ids() and _is_text(self.types[c])}
        self._texts = sorted(texts - self._not_dictionaries())

    def _not_dictionaries(self) -> set[str]:
        """Columns that Arrow should not hand out as dictionaries.

        Those too large for indices into one dictionary page: their writers gave it up, and Arrow
        would build the dictionary of a whole row group, and hand it out with every chunk. And those
        of delta encodings, for which it has no such decoder.
        """
        columns: set[str] = set()
        for number in range(self._footer.num_row_groups):
            group = self._footer.row_group(number)
            for leaf in range(group.num_columns):
                column = group.column(leaf)
                large = column.total_uncompressed_size > _INDEX * column.num_values + _DICTIONARY
                if large or any(name.startswith("DELTA") for name in column.encodings):
                    columns.add(column.path_in_schema)
        return columns

    def units(self, number: int) -> list[Unit]:
        """Row groups; small neighbours are read together."""
        units: list[Unit] = []
        parts: list[int] = []
        start = rows = 0
        for group in range(self._footer.num_row_groups):
            size = self._footer.row_group(group).num_rows
            if parts and rows + size > CHUNK_ROWS:
                units.append(Unit(number, tuple(parts), start, rows))
                parts, start, rows = [], start + rows, 0
            parts.append(group)
            rows += size
        return [*units, Unit(number, tuple(parts), start, rows)] if parts else units

    def read(
        self, unit: Unit, columns: Sequence[str] | None = None, rows: int = CHUNK_ROWS
    ) -> Iterator[Raw]:
        """The unit's rows; raises DataError where the file is damaged."""
        start = unit.start
        wanted = self._columns if columns is None else list(columns)
        # Arrow can't join the dictionaries inside lists of several row groups.
        apart = any(_has_inner_dictionary(self.types[c]) for c in wanted)
        # What Arrow can't take rows of.
        unsettled = any("view" in str(self.types[c]) for c in wanted)
        parts = [[part] for part in unit.parts] if apart else [list(unit.parts)]
        try:
            with pq.ParquetFile(
                self.path,
                metadata=self._footer,
                read_dictionary=[c for c in self._texts if c in wanted],
                pre_buffer=False,
                buffer_size=_BUFFER,
                page_checksum_verification=True,
            ) as file:
                for some in parts:
                    for table in file.iter_batches(
                        rows, row_groups=some, columns=wanted, use_threads=False
                    ):
                        if unsettled:
                            table = settled_table(table, ())
                        begin, start = start, start + table.num_rows
                        done = (start - unit.start) / max(unit.num_rows or 0, 1)
                        yield Raw(table, self.label, begin, table.num_rows, done=done)
        except (OSError, pa.ArrowException) as fault:
            raise unreadable(f"{self.label} (after row {start})", fault, "Parquet") from None


def unreadable(place: str, fault: Exception, form: str) -> DataError:
    """The error for a file that can't be read."""
    if isinstance(fault, OSError) and fault.errno:
        return bad_data("GR702", f"{place}: {os.strerror(fault.errno).lower()}")
    reason = " ".join(str(fault).split())[:200]
    return bad_data(
        "GR702",
        f"{place}: can't be read as {form}: {reason}",
        "is it complete? write or copy it again",
    )


def _has_inner_dictionary(kind: Any) -> bool:
    return is_list(kind) and pa.types.is_dictionary(kind.value_type)


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
