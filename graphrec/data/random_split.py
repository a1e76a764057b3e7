"""`data.split: {random: 0.1}`: rows drawn by chance, the same ones whenever they are read."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graphrec.data.chunk import Array
from graphrec.data.forms import kind_of, plain, settled
from graphrec.data.hashing import combine, hash_integers, hash_texts
from graphrec.data.source import Raw
from graphrec.data.spelling import canonical_texts

__all__ = ["RandomPart"]


@dataclass(frozen=True)
class RandomPart:
    """The rows whose number is drawn for evaluation, or the others.

    With a `column` its values are drawn, each with all its rows: a user is on one side only.
    Nothing but a row's place, or that value, decides: not the order of reading, nor a seed.
    """

    share: float
    inside: bool
    column: str | None = None
    nulls: tuple[str, ...] = ()
    num_rows: int | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """What has to be read to tell."""
        return () if self.column is None else (self.column,)

    def mask(self, raw: Raw) -> pa.Array:
        """Which rows belong; a null value belongs to the training part."""
        keys = (
            self._places(raw)
            if self.column is None
            else self._values(raw.table.column(self.column))
        )
        chosen = keys < np.uint64(int(self.share * 2.0**64))
        return pa.array(chosen if self.inside else ~chosen)

    def _places(self, raw: Raw) -> Array:
        rows = raw.index if raw.index is not None else raw.start + np.arange(raw.table.num_rows)
        name = np.full(len(rows), zlib.crc32(Path(raw.file).name.encode()), np.int64)
        return combine([hash_integers(name), hash_integers(np.asarray(rows, np.int64))])

    def _values(self, array: pa.Array) -> Array:
        array = plain(settled(array, self.nulls))
        if kind_of(array.type) == "bytes":
            array = array.cast(pa.binary()).view(pa.string())
        texts = canonical_texts(array.cast(pa.large_string()))
        keys = hash_texts(pc.fill_null(texts, ""))
        return np.where(texts.is_null().to_numpy(zero_copy_only=False), np.uint64(2**64 - 1), keys)
