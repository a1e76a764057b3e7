"""Rows of Parquet and CSV files: needed columns only, streamed, never a whole data set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from graphrec.data.csvfile import CsvFile
from graphrec.data.faults import bad_data
from graphrec.data.files import Watch, format_of
from graphrec.data.forms import kind_of
from graphrec.data.parquetfile import ParquetFile
from graphrec.data.partitions import partitions_of
from graphrec.data.plan import Plan
from graphrec.data.random_split import RandomPart
from graphrec.data.source import CHUNK_ROWS, Raw, Unit
from graphrec.data.value_split import Part, split_at
from graphrec.ground.errors import DataError, Problem, suggestion
from graphrec.recipe.training import Data

__all__ = ["FileSource", "drawn", "split"]


class FileSource:
    """Files with the columns of a plan; all of them are opened and checked at once.

    Raises DataError for unreadable files, missing columns, and columns whose kind differs between
    files.
    """

    def __init__(
        self, files: Sequence[Path], plan: Plan, data: Data, part: Part | RandomPart | None = None
    ) -> None:
        self.paths = tuple(files)
        self.part = part
        self._plan, self._data = plan, data
        self.files = [
            ParquetFile(path, plan)
            if format_of(path, data.format) == "parquet"
            else CsvFile(path, plan, data)
            for path in files
        ]
        self._columns = plan.columns
        # What stands in the path counts where the file itself has no such column.
        self._partitions = [
            {n: v for n, v in partitions_of(file.path).items() if n not in file.names}
            for file in self.files
        ]
        self._check()

    @property
    def name(self) -> str:
        first = os.path.basename(self.paths[0])
        return first if len(self.paths) == 1 else f"{first} and {len(self.paths) - 1} more files"

    @property
    def num_rows(self) -> int | None:
        if self.part is not None:
            return self.part.num_rows
        counts = [file.num_rows for file in self.files]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    @cached_property
    def watch(self) -> Watch:
        """The files as they were when first asked for."""
        return Watch.over(self.paths)

    @property
    def fingerprint(self) -> str:
        return self.watch.fingerprint

    def check(self) -> None:
        self.watch.check()

    def type_of(self, column: str) -> Any:
        """The Arrow type that holds the column of every file. Raises DataError where none does."""
        types = [file.types.get(column, pa.string()) for file in self.files]  # text in the path
        fields = [pa.schema([(column, kind)]) for kind in types]
        try:
            return pa.unify_schemas(fields, promote_options="permissive").field(column).type
        except pa.ArrowException:
            kinds = ", ".join(sorted(set(map(str, types))))
            raise bad_data(
                "GR705", f"column `{column}` is {kinds} in different files: no type holds them all"
            ) from None

    def with_part(self, part: Part | RandomPart) -> FileSource:
        """The same files, cut down to one side of a split."""
        other = FileSource(self.paths, self._plan, self._data, part)
        other.watch = self.watch
        return other

    @property
    def nulls(self) -> tuple[str, ...]:
        """Texts that mean null."""
        return self._data.nulls

    def units(self) -> list[Unit]:
        units = [unit for i, file in enumerate(self.files) for unit in file.units(i)]
        # How many rows of a unit are on this side of a split, only reading tells.
        return units if self.part is None else [replace(unit, num_rows=None) for unit in units]

    @property
    def mixed(self) -> bool:
        return False

    def read(
        self, unit: Unit, columns: Sequence[str] | None = None, rows: int = CHUNK_ROWS
    ) -> Iterator[Raw]:
        if self.part is not None and columns is not None:
            columns = sorted({*columns, *self.part.columns})
        for raw in self._whole(unit, columns, rows):
            if self.part is None:
                yield raw
                continue
            mask = self.part.mask(raw)
            inside = np.flatnonzero(mask.to_numpy(zero_copy_only=False))
            index = raw.start + inside if raw.index is None else raw.index[inside]
            table = raw.table.filter(mask)
            yield replace(raw, table=table, index=index)

    def _whole(self, unit: Unit, columns: Sequence[str] | None, rows: int) -> Iterator[Raw]:
        """The unit's rows, with the columns that stand in the file's path."""
        file, given = self.files[unit.file], self._partitions[unit.file]
        wanted = list(self._plan.columns if columns is None else columns)
        beside = {name: given[name] for name in wanted if name in given}
        if not beside:
            yield from file.read(unit, columns, rows)
            return
        inside = [name for name in wanted if name not in beside] or file.names[:1]
        for raw in file.read(unit, inside, rows):
            table = raw.table
            for name, value in beside.items():
                table = table.append_column(
                    name, pa.repeat(pa.scalar(value, pa.string()), table.num_rows)
                )
            yield replace(raw, table=table)

    def _check(self) -> None:
        problems = []
        first: dict[str, tuple[str, str]] = {}
        for file, given in zip(self.files, self._partitions, strict=True):
            if isinstance(file, CsvFile) and file.headless and not {*file.names} & {*self._columns}:
                problems.append(_headless(file))
                continue
            for column in self._plan.columns:
                seen = file.names.count(column)
                if seen != 1 and column not in given:
                    problems.append(_missing(file, column, seen, self._plan))
                    continue
                kind = "text" if column in given else kind_of(file.types[column])
                known = first.setdefault(column, (kind, file.label))
                if "nothing" in (kind, known[0]):
                    continue
                if kind != known[0]:
                    problems.append(
                        Problem(
                            "GR705",
                            f"column `{column}` is {kind} in {file.label}, but {known[0]}"
                            f" in {known[1]}",
                            path=f"data.{column}",
                            help="files read together need the same kind of values in a column",
                        )
                    )
        if problems:
            raise DataError(problems)


def _missing(file: ParquetFile | CsvFile, column: str, seen: int, plan: Plan) -> Problem:
    if seen:
        message = f"{file.label} has {seen} columns called `{column}`"
        return Problem("GR703", message, path=f"data.{column}", help="give them different names")
    return Problem(
        "GR703",
        f"{file.label} has no column `{column}`, which {plan.uses[column]} needs",
        path=f"data.{column}",
        help=suggestion(column, file.names),
    )


def _headless(file: CsvFile) -> Problem:
    first = ", ".join(name[:20] for name in file.names[:5])
    return Problem(
        "GR703",
        f"{file.label}: the first line is taken for the names of the columns, and looks like data:"
        f" {first}",
        path="data.columns",
        help="of a file without a header line, give the names: data.columns: [user, item, click]",
    )


def split(source: FileSource, column: str, last: int) -> tuple[FileSource, FileSource]:
    """Training and evaluation part: rows with the `last` largest values of `column` evaluate."""

    def arrays() -> Iterator[Any]:
        for unit in source.units():
            for raw in source.read(unit, [column]):
                yield raw.table.column(column)

    training, evaluation = split_at(arrays, column, last, source.nulls)
    return source.with_part(training), source.with_part(evaluation)


def drawn(source: FileSource, share: float, column: str | None) -> tuple[FileSource, FileSource]:
    """Training and evaluation part: a share of rows, or of a column's values, evaluates."""
    training, evaluation = (
        RandomPart(share, inside, column, source.nulls) for inside in (False, True)
    )
    return source.with_part(training), source.with_part(evaluation)
