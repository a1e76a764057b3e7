"""P9 and P10: seconds until the first step and of compiling; the loader's share of a step."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.cases import FOLDER
from bench.options import Options
from bench.results import Row

__all__ = ["rows", "write_criteo"]

RECIPE = str(FOLDER / "deepfm.yaml")
BATCH, STEPS, ROWS = 4096, 120, 300_000
TIMES = 5
"""Processes of which the median is taken."""


def rows(options: Options) -> list[Row]:
    """Figures of DeepFM on a Parquet file of Criteo's columns."""
    times = 3 if options.quick else TIMES
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "criteo.parquet"
        write_criteo(data, ROWS)
        before = _cpu()
        first = [_first_step(data, Path(folder) / f"first-{n}", options) for n in range(times)]
        middle = _cpu()
        compiling = [_seconds(["compile", RECIPE], options) for _ in range(times)]
        cpu = [(middle - before) / times, (_cpu() - middle) / times]
        steps = STEPS // 3 if options.quick else STEPS
        share, how = _loader_share(data, Path(folder) / "share", steps, options)
    return [
        Row(
            *("P9", "train, from the command to the first step", _median(first), "s", 6.0, True),
            how=f"CPU {cpu[0]:.1f} s to the end of the command",
        ),
        Row(
            *("P9", "compile, the whole command", _median(compiling), "s", 1.5, True),
            how=f"CPU {cpu[1]:.1f} s",
        ),
        Row("P10", "deepfm B 4096 bf16: loader's share of a step", share, "", 0.05, True, how),
    ]


def write_criteo(path: Path, count: int) -> None:
    """A Parquet file with random rows of the recipe's columns: int32 and float32, uncompressed."""
    random = np.random.default_rng(0)
    table = {f"C{n}": random.integers(0, 99_999, count, dtype=np.int32) for n in range(1, 27)}
    table |= {f"I{n}": random.exponential(3.0, count).astype(np.float32) for n in range(1, 14)}
    table["label"] = random.integers(0, 2, count, dtype=np.int32)
    pq.write_table(pa.table(table), path, compression="NONE", row_group_size=1 << 16)


def _first_step(data: Path, run: Path, options: Options) -> float:
    """Seconds until the first line of metrics, which is written after the first step."""
    start = time.perf_counter()
    process = subprocess.Popen(
        _command(["train", RECIPE, *_said(data, run, 1, "fp32"), "-o", "train.log_every=1"]),
        env=_environment(options),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = run / "metrics.jsonl"
    while not (lines.exists() and lines.stat().st_size):
        if process.poll() is not None and not lines.exists():
            raise RuntimeError(f"graphrec train: {process.communicate()[1][-500:]}")
        time.sleep(0.005)
    seconds = time.perf_counter() - start
    process.communicate()
    return seconds


def _loader_share(data: Path, run: Path, steps: int, options: Options) -> tuple[float, str]:
    """The median over lines of ten steps, the first line left out."""
    said = [*_said(data, run, steps, "bf16"), "-o", "train.log_every=10"]
    _seconds(["train", RECIPE, *said], options)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    shown = [line for line in lines if line["kind"] == "train"][1:]
    speed = statistics.median(line["rows_per_s"] for line in shown)
    share = statistics.median(line["loader_share"] for line in shown)
    return round(share, 4), f"{len(shown)} lines of 10 steps, {speed:,.0f} rows/s"


def _said(data: Path, run: Path, steps: int, precision: str) -> list[str]:
    values = [
        f"data={{train: {data}}}",
        f"train.dir={run}",
        f"train.steps={steps}",
        f"train.precision={precision}",
    ]
    return [part for value in values for part in ("-o", value)]


def _seconds(command: Sequence[str], options: Options) -> float:
    start = time.perf_counter()
    done = subprocess.run(
        _command(command), env=_environment(options), capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"graphrec {command[0]}: {done.stderr[-500:]}")
    return time.perf_counter() - start


def _command(rest: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "graphrec", *rest]


def _environment(options: Options) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(options.threads)}


def _cpu() -> float:
    """CPU seconds of all processes started and ended so far."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 2)
