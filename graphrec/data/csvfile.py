"""One CSV file, streamed; every cell is read as text, an empty one and `data.nulls` as null."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc_csv

from graphrec.data.chunk import Array
from graphrec.data.faults import bad_data, shown
from graphrec.data.parquetfile import unreadable
from graphrec.data.plan import Plan
from graphrec.data.quotes import StrayQuote, WatchedBytes
from graphrec.data.source import CHUNK_ROWS, Raw, Unit
from graphrec.ground.errors import DataError
from graphrec.recipe.training import Data

__all__ = ["CsvFile"]

_BLOCK = 4 << 20  # bytes parsed at a time: also the longest row
_HELD: deque[Any] = deque(maxlen=64)
"""The latest options: a thread of Arrow's that lets go of a handler last, when the interpreter
ends, aborts the process."""
_PACKED = 4  # bytes of text in a byte of a packed file, about
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)?")


class CsvFile:
    """The header of a file; `read` opens it again."""

    num_rows: int | None = None

    def __init__(self, path: Path, plan: Plan, data: Data) -> None:
        self.path, self.label = path, str(path)
        tab = ".tsv" in path.suffixes and data.sep == ","
        self._sep = "\t" if tab else data.sep
        if len(self._sep) != 1 or not self._sep.isascii():
            raise bad_data("GR710", f"data.sep: {shown(data.sep)} is not a single ASCII character")
        self._quarantine = data.bad_rows == "quarantine"
        self._quoted, self._header = data.quote == "double", not data.columns
        self._nulls = ["", *data.nulls]
        self._columns = list(plan.columns)
        packed = path.suffix.lower() in (".gz", ".bz2")
        self._size = path.stat().st_size * (_PACKED if packed else 1)
        self._given = list(data.columns)
        try:
            with self._open([], lambda row: "skip") as (reader, _):
                self.names = list(reader.schema.names)
        except (OSError, pa.ArrowException, UnicodeDecodeError) as fault:
            raise unreadable(self.label, fault, "CSV") from None
        self.types: dict[str, Any] = dict.fromkeys(self.names, pa.string())
        # Without its own header a file shows its first row as names: numbers, or nothing.
        self.headless = self._header and any(_NUMBER.fullmatch(name) for name in self.names)

    def units(self, number: int) -> list[Unit]:
        """The file as a whole: rows of a CSV file are found by reading it."""
        return [Unit(number)]

    def read(
        self, unit: Unit, columns: Sequence[str] | None = None, rows: int = CHUNK_ROWS
    ) -> Iterator[Raw]:
        """The rows; raises DataError for malformed ones unless they are quarantined."""
        wanted = self._columns if columns is None else list(columns)
        malformed: list[int] = []

        def handle(row: Any) -> str:
            # 0-based, less the header
            malformed.append(-1 if row.number is None else row.number - 1 - self._header)
            return "skip"

        start = told = blocks = 0
        share = _BLOCK / max(self._size, 1)
        try:
            skip = handle if self._quarantine else None
            with self._open(wanted, skip) as (reader, watched):
                for block in reader:
                    watched.look(_BLOCK if blocks else 2 * _BLOCK)  # a row may reach into the next
                    self._refuse(watched.stray)
                    lost = len(malformed) - told
                    told = len(malformed)
                    index = _positions(start, block.num_rows, malformed[-lost:]) if lost else None
                    for raw in _pieces(block, self.label, start, lost, index, rows):
                        before = min(1.0, share * blocks)
                        raw.done = before + raw.done * min(share, 1.0 - before)
                        yield raw
                    start += block.num_rows + lost
                    blocks += 1
                watched.look()
                self._refuse(watched.stray)
                if len(malformed) > told:
                    lost = len(malformed) - told
                    empty = pa.RecordBatch.from_pylist(
                        [], pa.schema([(c, pa.string()) for c in wanted])
                    )
                    yield Raw(empty, self.label, start, lost, lost)
        except (OSError, pa.ArrowException, UnicodeDecodeError) as fault:
            raise self._fault(fault) from None

    @contextmanager
    def _open(self, columns: list[str], handle: Any) -> Iterator[tuple[Any, WatchedBytes]]:
        # Watched on a way of their own: no thread of Arrow's may call Python when the process ends.
        with self._stream() as file, self._stream() as beside:
            watched = WatchedBytes(beside if self._quoted else None, self._sep, self._header)
            try:
                with self._reader(file, columns, handle) as reader:
                    yield reader, watched
            except pa.ArrowException:  # a stray quote is told before what follows from it
                watched.look()
                self._refuse(watched.stray)
                raise

    def _stream(self) -> Any:
        return pa.input_stream(os.fspath(self.path), compression="detect")

    def _reader(self, file: Any, columns: list[str], handle: Any) -> Any:
        parse_options = pc_csv.ParseOptions(
            delimiter=self._sep,
            quote_char='"' if self._quoted else False,
            newlines_in_values=self._quoted,
            invalid_row_handler=handle,
        )
        _HELD.append(parse_options)
        return pc_csv.open_csv(
            file,
            read_options=pc_csv.ReadOptions(
                use_threads=False, block_size=_BLOCK, column_names=self._given or None
            ),
            parse_options=parse_options,
            convert_options=pc_csv.ConvertOptions(
                include_columns=columns,
                column_types=dict.fromkeys(columns, pa.string()),
                null_values=self._nulls,
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                check_utf8=False,  # looked at cell by cell when the column is encoded
            ),
        )

    def _refuse(self, stray: StrayQuote | None) -> None:
        if stray is None:
            return
        place = f"row {stray.row}" if stray.row > 0 else "the header"
        lines = "1 line" if stray.swallowed == 1 else f"{stray.swallowed} lines"
        more = "" if stray.closed else " and more"
        what = f"swallows {lines}{more}, which look like rows" if stray.swallowed else "never ends"
        raise bad_data(
            "GR715",
            f"{self.label}: the quote that opens a cell in {place} (line {stray.line}) {what}",
            "data.quote: none reads quotes as plain characters; "
            'or write the cell in quotes, with every quote in it doubled: """5"" screen"',
        )

    def _fault(self, fault: Exception) -> DataError:
        counted = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", str(fault))
        if not counted:
            return unreadable(self.label, fault, "CSV")
        line, expected, got = map(int, counted.groups())
        what = "the header" if self._header else "data.columns"
        return bad_data(
            "GR707",
            f"row {line - self._header} of {self.label} has {got} cells, {what} has {expected}",
            "repair the rows, or leave them out and count them: data.bad_rows: quarantine",
        )


def _positions(start: int, count: int, lost: list[int]) -> Array:
    """0-based file rows of `count` good rows from `start` on, with `lost` rows among them."""
    rows = np.setdiff1d(np.arange(start, start + count + len(lost)), np.array(lost))
    return rows[:count]


def _pieces(
    block: Any, label: str, start: int, lost: int, index: Array | None, rows: int
) -> Iterator[Raw]:
    for begin in range(0, max(block.num_rows, 1), rows):
        table = block.slice(begin, rows)
        extra = lost if begin == 0 else 0
        some = None if index is None else index[begin : begin + rows]
        done = min(1.0, (begin + rows) / max(block.num_rows, 1))
        yield Raw(table, label, start + begin, table.num_rows + extra, extra, some, done)
