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
import pyarrow.compute as pc

from graphrec.data.cells import kind_of
from graphrec.data.csvfile import CsvFile
from graphrec.data.faults import bad_data
from graphrec.data.files import fingerprint, format_of
from graphrec.data.parquetfile import ParquetFile
from graphrec.data.plan import Plan
from graphrec.data.source import Raw, Unit
from graphrec.errors import DataError, Problem, suggestion
from graphrec.recipe.training import Data

__all__ = ["FileSource", "Part", "split"]


class Part:
    """The rows of a split: those whose `column` is at least `threshold`, or the others."""

    def __init__(self, column: str, threshold: Any, inside: bool, num_rows: int) -> None:
        self.column, self.threshold, self.inside, self.num_rows = (
            column,
            threshold,
            inside,
            num_rows,
        )

    def mask(self, table: Any) -> Any:
        """Which rows belong; nulls belong to the training part."""
        values = table.column(self.column)
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        chosen = pc.fill_null(pc.greater_equal(values, self.threshold), False)
        return chosen if self.inside else pc.invert(chosen)


class FileSource:
    """Files with the columns of a plan; all of them are opened and checked at once.

    Raises DataError for unreadable files, missing columns, and columns whose kind differs between
    files.
    """

    def __init__(
        self, files: Sequence[Path], plan: Plan, data: Data, part: Part | None = None
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
    def fingerprint(self) -> str:
        return fingerprint(self.paths)

    def type_of(self, column: str) -> Any:
        """The Arrow type that holds the column of every file. Raises DataError where none does."""
        fields = [pa.schema([(column, file.types[column])]) for file in self.files]
        try:
            return pa.unify_schemas(fields, promote_options="permissive").field(column).type
        except pa.ArrowException:
            kinds = ", ".join(sorted({str(file.types[column]) for file in self.files}))
            raise bad_data(
                "GR705", f"column `{column}` is {kinds} in different files: no type holds them all"
            ) from None

    def with_part(self, part: Part) -> FileSource:
        """The same files, cut down to one side of a split."""
        return FileSource(self.paths, self._plan, self._data, part)

    def units(self) -> list[Unit]:
        units = [unit for i, file in enumerate(self.files) for unit in file.units(i)]
        # How many rows of a unit are on this side of a split, only reading tells.
        return units if self.part is None else [replace(unit, num_rows=None) for unit in units]

    def read(self, unit: Unit, columns: Sequence[str] | None = None) -> Iterator[Raw]:
        if self.part is not None and columns is not None:
            columns = sorted({*columns, self.part.column})
        for raw in self.files[unit.file].read(unit, columns):
            if self.part is None:
                yield raw
                continue
            mask = self.part.mask(raw.table)
            inside = np.flatnonzero(mask.to_numpy(zero_copy_only=False))
            index = raw.start + inside if raw.index is None else raw.index[inside]
            table = raw.table.filter(mask)
            yield Raw(table, raw.file, raw.start, raw.read, raw.malformed, index)

    def _check(self) -> None:
        problems = []
        first: dict[str, tuple[str, str]] = {}
        for file in self.files:
            for column in self._plan.columns:
                seen = file.names.count(column)
                if seen != 1:
                    problems.append(_missing(file.label, column, seen, file.names, self._plan))
                    continue
                kind = kind_of(file.types[column])
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


def _missing(label: str, column: str, seen: int, names: Sequence[str], plan: Plan) -> Problem:
    if seen:
        message = f"{label} has {seen} columns called `{column}`"
        return Problem("GR703", message, path=f"data.{column}", help="give them different names")
    return Problem(
        "GR703",
        f"{label} has no column `{column}`, which {plan.uses[column]} needs",
        path=f"data.{column}",
        help=suggestion(column, names),
    )


def split(source: FileSource, column: str, last: int) -> tuple[FileSource, FileSource]:
    """Training and evaluation part: the rows with the `last` largest values of `column` evaluate.

    One pass over that column; memory grows with its chunk only.
    """
    largest: Any = None
    total = 0
    for unit in source.units():
        for raw in source.read(unit, [column]):
            values = raw.table.column(column)
            if pa.types.is_dictionary(values.type):
                values = values.cast(values.type.value_type)
            total += len(values)
            counts = pc.value_counts(values.drop_null())
            found = pa.table({"value": counts.field("values"), "rows": counts.field("counts")})
            if largest is not None:
                found = pa.concat_tables([largest, found], promote_options="permissive")
            merged = found.group_by("value").aggregate([("rows", "sum")])
            largest = merged.sort_by([("value", "descending")]).slice(0, last)
            largest = largest.rename_columns({"rows_sum": "rows"})
    if largest is None or largest.num_rows < last or sum(largest["rows"].to_pylist()) == total:
        raise bad_data(
            "GR710",
            f"data.split: column `{column}` has too few values to hold {last} of them out",
            "split by another column, or give the evaluation rows files of their own: data.eval",
        )
    threshold = largest["value"][last - 1]
    inside = sum(largest["rows"].to_pylist())
    return (
        source.with_part(Part(column, threshold, False, total - inside)),
        source.with_part(Part(column, threshold, True, inside)),
    )
