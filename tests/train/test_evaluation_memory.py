"""Memory of an evaluation does not grow with its rows: scores lie on disk, and are read in parts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graphrec.cli import main

RECIPE = """
graphrec: 1
name: big
features: [{type: id, names: [a, u], vocab: 1000, dim: 4}, {type: dense, names: x}]
graph: {top: {block: mlp, in: all, hidden: [4]}}
tasks: {click: {label: click, in: top, metrics: [auc, gauc(u)]}}
data: {train: train.parquet}
train: {batch: 4096}
"""

MEASURE = """
import resource, sys
import graphrec

record = graphrec.load_run("run").evaluate(sys.argv[1])
print(record["rows"], record["click.auc"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write(path: Path, rows: int) -> Path:
    random = np.random.default_rng(0)
    columns = {"a": 1000, "u": 1000, "click": 2}
    with pq.ParquetWriter(
        path, pa.schema([(n, pa.int64()) for n in columns] + [("x", pa.float64())])
    ) as w:
        for start in range(0, rows, 50_000):
            size = min(50_000, rows - start)
            table = {name: random.integers(0, most, size) for name, most in columns.items()}
            w.write_table(pa.table({**table, "x": random.normal(size=size)}))
    return path


def test_evaluation_memory_does_not_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soak: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("train.parquet"), 5000)
    Path("big.yaml").write_text(RECIPE)
    assert main(["train", "big.yaml", "--run", "run", "--quiet"]) == 0
    peaks = []
    for rows in (300_000, 3_000_000 if soak else 1_500_000):
        command = [sys.executable, "-c", MEASURE, str(write(tmp_path / f"{rows}.parquet", rows))]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert int(out[0]) == rows and 0.49 < float(out[1]) < 0.51
        peaks.append(int(out[2]))
    assert peaks[1] < 1.1 * peaks[0], peaks
