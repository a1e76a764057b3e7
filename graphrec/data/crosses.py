"""Rows of crosses: the values of several columns together, hashed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from graphrec.data.chunk import Array
from graphrec.data.hashing import combine, hash_integers, hash_texts
from graphrec.data.plan import Cross, Field, Plan
from graphrec.data.spelling import canonical_text
from graphrec.data.value_maps import ValueMap

__all__ = ["CrossRows"]


class CrossRows:
    """The crosses of a plan as a function of their columns."""

    def __init__(self, plan: Plan) -> None:
        self._hashes = {
            part.key: ValueMap(hash_texts, hash_integers, _default_hash(part))
            for cross in plan.crosses
            for part in cross.parts
        }

    def rows(self, cross: Cross, table: Any) -> Array:
        """Rows [B] of a cross in its table; the last one where a part without default is null."""
        parts = []
        nulls = np.zeros(table.num_rows, bool)
        for part in cross.parts:
            array = table.column(part.column)
            # Its bad cells were reported by the feature itself.
            parts.append(self._hashes[part.key](array, part.column, lambda mask, why: None))
            if array.null_count and part.feature.default is None:
                nulls |= array.is_null().to_numpy(zero_copy_only=False)
        rows = (combine(parts) % np.uint64(cross.rows)).astype(np.int64)
        return np.where(nulls, cross.rows, rows).astype(
            np.int32 if cross.rows < 1 << 31 else np.int64
        )


def _default_hash(field: Field) -> int:
    default = field.feature.default
    return 0 if default is None else int(hash_texts(pa.array([canonical_text(str(default))]))[0])
