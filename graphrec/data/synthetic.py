"""Generated rows for any recipe: its own columns, with labels of known best reachable scores."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from graphrec.data.chunk import Array
from graphrec.data.faults import bad_data
from graphrec.data.labels import (
    LabelColumn,
    Truth,
    best_possible,
    draw_labels,
    fit_labels,
    label_columns,
    raw_labels,
)
from graphrec.data.memory_tables import TableSource
from graphrec.data.plan import item_plan, plan
from graphrec.data.planted import Drawn, Planted, seed_of
from graphrec.data.random_columns import Columns
from graphrec.data.source import CHUNK_ROWS, Raw, Unit
from graphrec.recipe.model import Recipe

__all__ = ["SyntheticSource"]

_BLOCK = 32_768  # rows of a unit: a block is drawn from its own seed, whoever reads it
_HELD_OUT = 10  # every tenth row


class SyntheticSource:
    """`rows` generated rows less the held out tenth, which is the source `held_out`.

    The same recipe and number give the same rows, run after run. `best(task)` tells what the true
    probabilities would score on the held out rows.
    """

    def __init__(
        self, recipe: Recipe, rows: int, part: str = "train", parent: SyntheticSource | None = None
    ) -> None:
        self.recipe, self.rows, self.part = recipe, rows, part
        held = max(rows // _HELD_OUT, 1)
        self._start, self._stop = (0, rows - held) if part == "train" else (rows - held, rows)
        self._columns: Columns = parent._columns if parent else Columns(plan(recipe))
        self._labels: list[LabelColumn] = (
            parent._labels if parent else label_columns(recipe.with_wanted())
        )
        if parent is not None:
            return
        sample = self._columns.draw(np.random.default_rng(seed_of("sample")), 20_000)[1]
        fit_labels(
            self._labels,
            sample,
            lambda key: Planted(key, self._columns.domains, self._columns.pairs, sample),
        )

    @property
    def name(self) -> str:
        return f"generated rows ({self.part})"

    @property
    def num_rows(self) -> int:
        return self._stop - self._start

    @cached_property
    def held_out(self) -> SyntheticSource:
        """The rows to evaluate on."""
        return SyntheticSource(self.recipe, self.rows, "eval", self)

    @cached_property
    def fingerprint(self) -> str:
        unit = Unit(0, (), self._start, 1000)
        first = next(self.read(unit)).table
        digest = hashlib.sha256(f"synthetic {self.rows} {self.part}".encode())
        for name in sorted(first.schema.names):
            digest.update(f"{name}={first.column(name).to_pylist()}".encode())
        return digest.hexdigest()

    def items(self) -> TableSource:
        """For a retriever, an item for each key that some row names, as that row has it.

        A column of weights to draw by, which no feature reads, falls as 1 / (1 + number of item).
        """
        retrieval = self.recipe.retrieval
        assert retrieval is not None
        columns = item_plan(self.recipe)
        key, by = retrieval.candidates.key, retrieval.candidates.by
        if key not in self._columns.domains:
            what = f"generated rows have no `{key}`: no id feature reads this column"
            help = f"declare {{type: id, side: item, names: {key}}}"
            raise bad_data("GR710", what, help)
        parts = []
        for source in (self, self.held_out):
            for unit in source.units():
                for raw in source.read(unit):
                    there = raw.table.schema.names
                    parts.append(
                        raw.table.select([n for n in columns.uses if n != by or n in there])
                    )
        rows = pa.Table.from_batches(parts).combine_chunks()
        coded = rows.column(key).combine_chunks().dictionary_encode()
        codes = pa.chunked_array([coded]).combine_chunks().indices.fill_null(-1)
        known, first = np.unique(codes.to_numpy(), return_index=True)
        items = rows.take(pa.array(first[known >= 0]))
        if by in columns.uses and by not in items.schema.names:
            items = items.append_column(by, pa.array(1.0 / (1.0 + np.arange(len(items)))))
        return TableSource(items, columns.uses)

    def check(self) -> None:
        """Generated rows never change."""

    @property
    def mixed(self) -> bool:
        return True

    def units(self) -> list[Unit]:
        starts = range(self._start, self._stop, _BLOCK)
        return [Unit(0, (), start, min(_BLOCK, self._stop - start)) for start in starts]

    def read(
        self, unit: Unit, columns: Sequence[str] | None = None, rows: int = CHUNK_ROWS
    ) -> Iterator[Raw]:
        number = int(unit.num_rows or 0)  # never more than a chunk
        arrays, _, truth = self._draw(unit.start, number)
        for label in self._labels:
            arrays[label.name] = raw_labels(label, truth[label.name])
        names = sorted(arrays) if columns is None else list(columns)
        table = pa.RecordBatch.from_arrays([arrays[name] for name in names], names=names)
        yield Raw(table, self.name, unit.start - self._start, number)

    def best(self, task: str, *, inside: bool = True) -> dict[str, float]:
        """What the true probabilities score on the held out rows, by metric.

        For a task with a space: over the rows inside it, unless `inside` is false. Empty for a task
        without a label.
        """
        spec = self.recipe.tasks[task]
        if spec.label is None:
            return {}
        truths = self.held_out._truths
        column = next(c for c in self._labels if c.name == spec.label.column)
        space: Array | None = None
        if inside and spec.space is not None:
            owner = self.recipe.tasks.get(spec.space.label)
            gate = owner.label.column if owner and owner.label else spec.space.label
            space = truths[gate].values > 0 if gate in column.gates else None
        return best_possible(spec, column, truths[column.name], space)

    @cached_property
    def _truths(self) -> dict[str, Truth]:
        parts = [self._draw(unit.start, int(unit.num_rows or 0))[2] for unit in self.units()]
        return {
            name: Truth(
                *(
                    np.concatenate([getattr(p[name], key) for p in parts])
                    for key in ("values", "mean", "own")
                )
            )
            for name in parts[0]
        }

    def _draw(self, start: int, rows: int) -> tuple[dict[str, Any], Drawn, dict[str, Truth]]:
        random = np.random.default_rng([seed_of("rows"), start])
        arrays, drawn = self._columns.draw(random, rows)
        return arrays, drawn, draw_labels(self._labels, drawn, random)
