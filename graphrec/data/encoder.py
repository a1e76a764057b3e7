"""Raw rows -> `Batch`: vocabularies, buckets, transforms, histories and labels, vectorised."""

from __future__ import annotations

from collections.abc import Collection
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from graphrec.data import numbers
from graphrec.data.cells import at_row, cell
from graphrec.data.chunk import Array, Chunk, Ragged
from graphrec.data.counts import Counts, count_ranges
from graphrec.data.crosses import CrossRows
from graphrec.data.doubts import note_doubts
from graphrec.data.faults import Faults
from graphrec.data.fit import learn
from graphrec.data.forms import settled_table
from graphrec.data.learned import Learned, load, save
from graphrec.data.lists import Lists, ids_of_steps, rows_of_steps, steps_of, values_of
from graphrec.data.memory_tables import Rows, TableSource, as_table
from graphrec.data.plan import Field, Plan, item_plan, plan, row_plan
from graphrec.data.seen import SeenValues, SlottedRows
from graphrec.data.source import Raw, Source
from graphrec.data.spelling import canonical_text
from graphrec.data.targets import Targets
from graphrec.data.value_maps import ValueMap
from graphrec.data.value_weights import weights_of
from graphrec.data.vocabularies import HashedRows, Vocabulary, vocabulary_of
from graphrec.recipe.model import BucketFeature, DenseFeature, IdFeature, Recipe

if TYPE_CHECKING:
    from graphrec.nn.batch import Batch

__all__ = ["Encoder"]


class Encoder:
    """Everything learned from the training data, and the function from rows to batches.

    `Encoder.fit(recipe, source)` learns, `save` and `load` keep it with a run. `rows` gives the
    number of rows of every table, the last one (unseen values and null) included. Encoding changes
    nothing in it but caches, so threads can share one.
    """

    def __init__(self, recipe: Recipe, learned: Learned) -> None:
        self.recipe = recipe
        self.plan, self._whole = row_plan(recipe), plan(recipe)
        self.learned = learned
        self.vocabularies: dict[str, Vocabulary] = {}
        self.rows: dict[str, int] = {}
        for field in self._whole.fields:
            if field.table and field.table not in self.rows:
                self._add_table(field)
        for cross in self._whole.crosses:
            self.rows.setdefault(cross.table, cross.rows + 1)
        self._maps = {
            f.key: self._map(f) for f in self._whole.fields if isinstance(f.feature, IdFeature)
        }
        self._crosses = CrossRows(self._whole)
        self._targets = Targets(self.plan)
        self._served = False
        self._seen: SeenValues | None = None
        self._learns = False

    @classmethod
    def fit(cls, recipe: Recipe, source: Source, items: Source | None = None) -> Encoder:
        """Learn vocabularies, statistics and quantiles in one pass over the training data.

        Nothing is read where nothing is to be learned; of a retriever the `items` teach, too.
        Raises DataError.
        """
        return cls(recipe, learn(recipe, source, items))

    @classmethod
    def load(cls, recipe: Recipe, folder: Path) -> Encoder:
        """What `save` wrote; raises CheckpointError where it is damaged or of another recipe."""
        return cls(recipe, load(recipe, folder))

    def save(self, folder: Path) -> None:
        """Write vocab/<table>.parquet and stats.json into `folder`."""
        save(self.learned, folder)

    def only(self, keys: Collection[str], *, served: bool = True) -> Encoder:
        """The same for these entries of `Batch.features` alone: no labels, no columns beside them.

        Where rows are `served` a bad cell is an error, whatever `data.bad_rows` says: no row is
        left out.
        """
        part = self.for_plan(self._whole.only(keys))
        if served:
            strict = self.recipe.data.model_copy(update={"bad_rows": "error"})
            part.recipe = self.recipe.model_copy(update={"data": strict})
        part._served = served
        return part

    def of_items(self) -> Encoder:
        """The same for rows of the file of items: their features, and their key beside them."""
        return self.for_plan(item_plan(self.recipe))

    def targets_only(self) -> Encoder:
        """The same for keys and labels alone, without any feature."""
        return self.for_plan(replace(self.plan, fields=(), crosses=()))

    def for_plan(self, plan: Plan) -> Encoder:
        """The same for rows of another plan."""
        part = copy(self)
        part.plan, part._targets = plan, Targets(plan)
        return part

    def seen_values(self) -> SeenValues:
        """An empty sketch for the hashed tables."""
        hashed = {n: v for n, v in self.vocabularies.items() if isinstance(v, HashedRows)}
        return SeenValues({name: vocabulary.size for name, vocabulary in hashed.items()})

    def with_seen(self, seen: SeenValues, *, learns: bool) -> Encoder:
        """The same; values of hashed features are noted in `seen`, or counted as unseen by it."""
        restricted = copy(self)
        restricted._seen, restricted._learns = seen, learns
        restricted._maps = {
            f.key: self._map(f, seen)
            for f in self._whole.fields
            if isinstance(f.feature, IdFeature)
        }
        return restricted

    def encode(self, rows: Rows, *, labels: bool = True) -> Batch:
        """The batch of rows in memory (see `as_table`) with the recipe's columns.

        Without `labels` the rows are to be predicted: columns of features only are needed. Raises
        DataError for missing columns and bad cells.
        """
        if not labels:
            keys = {field.key for field in self.plan.fields}
            return self.only(keys | {cross.key for cross in self.plan.crosses}).encode(rows)
        source = TableSource(as_table(rows, self.plan.columns), self.plan.uses)
        return self.encode_raw(source.whole())[0].batch()

    def encode_raw(self, raw: Raw) -> tuple[Chunk, Counts]:
        """Encoded rows without the quarantined ones, and what was counted."""
        chunk, counts, _ = self.encode_kept(raw)
        return chunk, counts

    def encode_kept(self, raw: Raw) -> tuple[Chunk, Counts, Array | None]:
        """`encode_raw`, and the index of the rows that were kept; None where all of them were."""
        table, rows = settled_table(raw.table, self.recipe.data.nulls), raw.table.num_rows
        faults = Faults(raw.file, rows, raw.row, self.recipe.data.bad_rows, self._served)
        counts = Counts(read=raw.read, quarantined=raw.malformed)
        counts.skipped = raw.read - raw.malformed - rows
        chunk = Chunk(rows, {})
        histories: dict[str, list[tuple[Field, Any]]] = {}
        first = raw.start == 0 and not self._served
        for field in self.plan.fields:
            array = table.column(field.column)
            counts.cells[field.key] += rows
            counts.nulls[field.key] += array.null_count
            if field.sequence is None:
                lists = values_of(field, array) if field.form == "multi" else None
                if first and isinstance(field.feature, IdFeature):
                    note_doubts(field, array if lists is None else lists.values, counts)
                chunk.features[field.key] = self._value(field, array, lists, table, faults, counts)
            else:
                histories.setdefault(field.sequence.name, []).append((field, array))
        for history in histories.values():
            steps = steps_of(history)
            _align(history, steps, faults)
            for (field, array), lists in zip(history, steps, strict=True):
                if first and isinstance(field.feature, IdFeature):
                    note_doubts(field, lists.values, counts)
                chunk.features[field.key] = self._value(field, array, lists, table, faults, counts)
        for cross in self.plan.crosses:
            chunk.features[cross.key] = self._crosses.rows(cross, table)
        self._targets.read(table, chunk, faults)
        keep = faults.keep()
        if keep is not None:
            counts.quarantined += rows - len(keep)
            counts.reasons.update(faults.reasons)
            chunk = chunk.take(keep)
        if not self._served:
            count_ranges(chunk, counts)
            self._targets.count(chunk, counts)
        return chunk, counts, keep

    # ---- one column --------------------------------------------------------------------------

    def _value(
        self,
        field: Field,
        array: Any,
        lists: Lists | None,
        table: Any,
        faults: Faults,
        counts: Counts,
    ) -> Array | Ragged:
        feature = field.feature
        if isinstance(feature, DenseFeature):
            return numbers.dense(field, array, lists, self.learned.scales.get(field.stats), faults)
        assert field.table is not None
        if field.nested and lists is not None:
            steps = ids_of_steps(field, lists)
            row_ids = Lists(steps.values, steps.offsets[lists.offsets])
            rows = self._rows(field, array, row_ids, faults, counts)
            return Ragged(Ragged(rows, steps.offsets), lists.offsets)
        rows = self._rows(field, array, lists, faults, counts)
        if lists is None:
            return rows
        return Ragged(rows, lists.offsets, weights_of(field, array, lists, table, faults))

    def _rows(
        self, field: Field, array: Any, lists: Lists | None, faults: Faults, counts: Counts
    ) -> Array:
        """Rows of the field's table: buckets of numbers, or places in a vocabulary."""
        feature = field.feature
        if isinstance(feature, BucketFeature):
            edges, rows = self.learned.edges[field.stats], self.rows[str(field.table)]
            return numbers.cut(field, array, edges, rows, faults, lists)
        return self._ids(field, array, lists, faults, counts)

    def _ids(
        self, field: Field, array: Any, lists: Lists | None, faults: Faults, counts: Counts
    ) -> Array:
        feature, values = field.feature, array if lists is None else lists.values
        assert isinstance(feature, IdFeature) and field.table is not None
        report = at_row(faults, array, lists.offsets if lists else None, field.column)
        bad: list[Array] = []

        def note(mask: Array, why: str) -> None:
            bad.append(mask)
            report(mask, why)

        rows = self._maps[field.key](values, field.column, note)
        if isinstance(self.vocabularies[field.table], HashedRows):
            return rows if self._seen is None else self._slotted(field, rows, counts)
        unseen = rows == self.rows[field.table] - 1
        if values.null_count:
            unseen &= values.is_valid().to_numpy(zero_copy_only=False)
        for mask in bad:  # no value at all
            unseen &= ~mask
        number = int(np.count_nonzero(unseen))
        counts.values[field.key] += len(values) - values.null_count
        counts.unseen[field.key] += number
        if number and feature.oov == "error":
            where = unseen if lists is None else rows_of_steps(unseen, lists.offsets)
            why = f"is not in the vocabulary of feature `{feature.name}` (oov: error)"
            faults.add(where, field.column, why, lambda i: cell(array, i), "GR708")
        return rows

    def _slotted(self, field: Field, packed: Array, counts: Counts) -> Array:
        """Rows of a hashed table, after its values were noted or counted."""
        assert self._seen is not None and field.table is not None
        rows, slots = SlottedRows.parts(packed)
        if self._learns:
            self._seen.mark(field.table, slots)
        else:
            values, unseen = self._seen.look(field.table, slots)
            counts.values[field.key] += values
            counts.unseen[field.key] += unseen
        return rows.astype(np.int32) if self.rows[field.table] <= 1 << 31 else rows

    # ---- tables ------------------------------------------------------------------------------

    def _add_table(self, field: Field) -> None:
        feature, table = field.feature, str(field.table)
        if isinstance(feature, BucketFeature):
            edges = feature.edges
            self.rows[table] = (len(edges) + 1 if isinstance(edges, tuple) else edges.args[0]) + 1
            return
        assert isinstance(feature, IdFeature)
        self.vocabularies[table] = vocabulary_of(feature, self.learned.vocabularies.get(table))
        self.rows[table] = self.vocabularies[table].rows

    def _map(self, field: Field, seen: SeenValues | None = None) -> ValueMap:
        assert isinstance(field.feature, IdFeature)
        vocabulary = self.vocabularies[str(field.table)]
        default = field.feature.default
        null = vocabulary.rows - 1
        if default is not None:
            null = int(vocabulary.texts(pa.array([canonical_text(str(default))]))[0])
        if seen is not None and isinstance(vocabulary, HashedRows):
            slotted = SlottedRows(vocabulary.size, null, seen.bits[str(field.table)])
            return ValueMap(slotted.texts, slotted.integers, slotted.null)
        return ValueMap(vocabulary.texts, vocabulary.integers, null)


def _align(history: list[tuple[Field, Any]], steps: list[Lists], faults: Faults) -> None:
    """The columns of a sequence have equally many steps in every row, and share their offsets."""
    (first, _), reference = history[0], steps[0]
    for (field, array), lists in zip(history[1:], steps[1:], strict=True):
        odd = lists.lengths != reference.lengths
        if odd.any():
            why = f"has not as many steps as `{first.column}`"
            faults.add(odd, field.column, why, partial(cell, array))
        else:
            lists.offsets = reference.offsets
