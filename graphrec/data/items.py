"""The items of a retriever: their features, their keys, and where a key stands among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from graphrec.data.chunk import NULL_KEY, Array, Chunk, Ragged
from graphrec.data.encoder import Encoder
from graphrec.data.faults import bad_data
from graphrec.data.source import Source
from graphrec.recipe.seen_items import key_feature

if TYPE_CHECKING:
    from graphrec.nn.batch import Batch

__all__ = ["Items"]


class Items:
    """Every item of a source, encoded and held in memory; its place is its number.

    `keys` [N] are the values of the key column as they stand in the data, for answers. Raises
    DataError (GR716) for a key that is null or there twice, and for no items at all.
    """

    def __init__(self, encoder: Encoder, source: Source) -> None:
        self.recipe, self.source = encoder.recipe, source
        retrieval = self.recipe.retrieval
        assert retrieval is not None
        self.key, reader = retrieval.candidates.key, encoder.of_items()
        chunks: list[Chunk] = []
        keys: list[Any] = []
        for unit in source.units():
            for raw in source.read(unit):
                chunk, _, kept = reader.encode_kept(raw)
                column = raw.table.column(self.key)
                chunks.append(chunk)
                keys.append(column if kept is None else column.take(pa.array(kept)))
        if not any(chunk.num_rows for chunk in chunks):
            raise bad_data("GR716", f"{source.name}: there are no items", "one row for each item")
        self.rows = Chunk.concat([chunk for chunk in chunks if chunk.num_rows])
        self.keys = pa.chunked_array(keys).combine_chunks()
        self._identities = self.rows.columns[self.key]
        self._order = np.argsort(self._identities, kind="stable")
        self._sorted = self._identities[self._order]
        self._check()
        self._seen = [self._by_table_row(encoder, name) for name in retrieval.seen]

    def __len__(self) -> int:
        return self.rows.num_rows

    def batch(self, places: Array) -> Batch:
        """The items at these places, as a module reads them."""
        return self.rows.take(places).batch()

    def blocks(self, size: int) -> Iterator[Batch]:
        """All items, `size` at a time, in their order."""
        for start in range(0, len(self), size):
            yield self.rows.slice(start, min(start + size, len(self))).batch()

    def find(self, identities: Array) -> Array:
        """Places [B] of items by the identities that a batch's columns hold, -1 for none."""
        at = np.searchsorted(self._sorted, identities).clip(max=len(self) - 1)
        return np.where(self._sorted[at] == identities, self._order[at], -1)

    def own(self, columns: Mapping[str, Array], counts: Array) -> Array:
        """Places [B] of the rows' items; DataError for a row that counts and whose item is none."""
        places = self.find(columns[self.key])
        lost = (places < 0) & counts
        if lost.any():
            number = int(np.count_nonzero(lost))
            raise bad_data(
                "GR716",
                f"`{self.key}` of {number:,} rows of {len(lost):,} is not among the"
                f" {len(self):,} items of {self.source.name}",
                "the file of items has a row for every item that a row of the data may name",
            )
        return places

    def seen(self, features: Mapping[str, Any]) -> Array:
        """Pairs [M, 2] of a row and the place of an item in one of its histories of `seen`.

        `features` are those of a chunk or of a batch.
        """
        pairs = [np.empty((0, 2), np.int64)]
        for column, places in self._seen:
            history = features[column]
            lengths = np.diff(history.offsets) if isinstance(history, Ragged) else history.lengths
            rows = np.repeat(np.arange(len(lengths)), np.asarray(lengths))
            item_places = places[np.asarray(history.values)]
            pairs.append(np.stack([rows, item_places], axis=1)[item_places >= 0])
        return np.concatenate(pairs)

    def _check(self) -> None:
        if (self._sorted == NULL_KEY).any():
            what = f"{self.source.name}: an item without `{self.key}`"
            raise bad_data("GR716", what, "leave the row out, or give it its key")
        again = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
        if len(again):
            value = self.keys[int(self._order[again[0]])].as_py()
            what = f"{self.source.name}: `{self.key}` {value!r} is there twice"
            raise bad_data("GR716", what, "one row for each item")

    def _by_table_row(self, encoder: Encoder, history: str) -> tuple[str, Array]:
        """A history's column, and the place of the item at each row of its table."""
        base = key_feature(self.recipe, history)
        assert base is not None, "the compiler has checked it"
        ids = self.rows.features[base]
        assert isinstance(ids, np.ndarray)
        table = next(f.table for f in encoder.of_items().plan.fields if f.key == base)
        rows = encoder.rows[str(table)]
        places = np.full(rows, -1, np.int64)
        places[ids] = np.arange(len(self))
        places[-1] = -1  # unseen values share the last row: none of them is known to be an item
        return f"{history}.{base}", places
