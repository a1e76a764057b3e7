"""Memory does not grow with the rows: ten times as many take less than a tenth more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

RECIPE = """
graphrec: 1
name: big
defaults: {feature: {dim: 4}}
features:
  - {type: id, names: a, vocab: fit}
  - {type: id, names: b, vocab: hash(100_000)}
  - {type: dense, names: x, transform: zscore}
  - {type: sequence, name: s, of: [a], max_len: 10}
graph: {top: {block: mlp, in: all, hidden: [4]}}
tasks: {click: {label: click, in: top}}
data: {train: big.parquet, shuffle: 20_000}
"""

MEASURE = """
import resource, sys
from graphrec.data import Encoder, Loader, open_data
from graphrec.recipe import read_recipe

recipe = read_recipe(sys.argv[1])
source = open_data(recipe).train
encoder = Encoder.fit(recipe, source)
loader = Loader(recipe, encoder, source, 1024, shuffle=True, workers=1)
rows = sum(batch.num_rows for batch in loader.epoch(0))
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(folder: Path, rows: int) -> int:
    """Peak resident kilobytes of fitting and one epoch."""
    path = folder / "big.parquet"
    random = np.random.default_rng(0)
    with pq.ParquetWriter(path, _table(random, 1).schema) as writer:
        for _ in range(rows // 20_000):
            writer.write_table(_table(random, 20_000))
    (folder / "big.yaml").write_text(RECIPE)
    command = [sys.executable, "-c", MEASURE, str(folder / "big.yaml")]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(out[0]) == rows
    return int(out[1])


def _table(random: np.random.Generator, rows: int) -> pa.Table:
    lengths = random.integers(0, 11, rows)
    offsets = np.r_[0, np.cumsum(lengths)].astype(np.int32)
    steps = pa.array(random.integers(0, 5_000, offsets[-1]))
    return pa.table(
        {
            "a": random.integers(0, 5_000, rows),
            "b": pa.array(random.integers(0, 10**9, rows)).cast(pa.string()),
            "x": random.normal(size=rows),
            "s__a": pa.ListArray.from_arrays(offsets, steps),
            "click": random.integers(0, 2, rows),
        }
    )


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, soak: bool) -> None:
    small, large = (1_000_000, 10_000_000) if soak else (100_000, 1_000_000)
    first, second = peak(tmp_path, small), peak(tmp_path, large)
    if second > 1.1 * first:
        pytest.fail(f"{small:,} rows: {first:,} kB, {large:,} rows: {second:,} kB")
