"""Random rows of a recipe's columns in a Parquet file: int32 and float32, uncompressed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from graphrec.recipe.features import DenseFeature, IdFeature, SequenceFeature
from graphrec.recipe.model import Recipe

__all__ = ["write_rows"]


def write_rows(recipe: Recipe, path: Path, count: int) -> None:
    """Rows of integer ids, numbers, histories of 0 to `max_len` steps, and all tasks' labels."""
    random = np.random.default_rng(0)
    columns: dict[str, pa.Array | np.ndarray] = {}
    features = recipe.features.items()
    sizes = {n: int(f.vocab.args[0]) for n, f in features if isinstance(f, IdFeature)}
    for name, feature in features:
        column = getattr(feature, "column", None) or name
        if isinstance(feature, IdFeature):
            columns[column] = random.integers(0, sizes[name], count, dtype=np.int32)
        elif isinstance(feature, DenseFeature):
            columns[column] = random.exponential(3.0, count).astype(np.float32)
        elif isinstance(feature, SequenceFeature):
            lengths = random.integers(0, feature.max_len + 1, count)
            starts = np.concatenate([[0], lengths.cumsum()]).astype(np.int32)
            for base in feature.of:
                steps = random.integers(0, sizes[base], starts[-1], dtype=np.int32)
                key = feature.columns.get(base, f"{name}__{base}")
                columns[key] = pa.ListArray.from_arrays(pa.array(starts), pa.array(steps))
        else:
            raise ValueError(f"no rows are drawn for feature `{name}` ({feature.type})")
    for label in sorted({t.label.column for t in recipe.tasks.values() if t.label is not None}):
        columns[label] = random.integers(0, 2, count, dtype=np.int32)
    pq.write_table(pa.table(columns), path, compression="NONE", row_group_size=1 << 16)
