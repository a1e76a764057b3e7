"""P14: two ranks of one thread each, against torchrec by hand, and against one process of two.

The jobs run one after the other in turns, each to its end; speeds are of the later windows of each,
so that nobody pays for starting. Ours reads a Parquet file; by hand the batches lie in memory.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.options import Options
from bench.parquet_rows import write_rows
from bench.results import Row
from graphrec.compiler.pipeline import compile_recipe

__all__ = ["rows"]

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "bench" / "recipes" / "deepfm.yaml"
BATCH, SIZES, TURNS = 4096, (100_000, 1_000_000), 3
_MEASURED = """\
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
sys.exit(done.returncode)
"""


@dataclass(frozen=True)
class Job:
    """What one job came to: rows per second, and the largest process in MiB."""

    speed: float
    peak: float


def rows(options: Options) -> list[Row]:
    """Throughput and memory of two ranks, for each size of tables."""
    table: list[Row] = []
    sizes, turns, steps = (SIZES[:1], 1, 24) if options.quick else (SIZES, TURNS, 160)
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            jobs: dict[str, list[Job]] = {"ours": [], "hand": [], "one": []}
            for turn in range(turns):
                runs = Path(folder) / f"{size}-{turn}"
                jobs["ours"].append(_ours(runs / "two", size, steps, 2))
                jobs["hand"].append(_hand(size, steps))
                jobs["one"].append(_ours(runs / "one", size, steps, 1))
            table += _rows_of(size, jobs)
    return table


def _rows_of(size: int, jobs: dict[str, list[Job]]) -> list[Row]:
    speed = {who: statistics.median(job.speed for job in each) for who, each in jobs.items()}
    peak = {who: statistics.median(job.peak for job in each) for who, each in jobs.items()}
    work = f"deepfm B {BATCH}, tables of {size:,} rows, two ranks"
    by_hand, by_one = (
        f"{speed['ours']:,.0f} against {speed[other]:,.0f} rows/s" for other in ("hand", "one")
    )
    return [
        Row(
            "P14", f"{work}: rows/s over torchrec by hand",
            round(speed["ours"] / speed["hand"], 3), "x", 1.2, how=by_hand,
        ),
        Row(
            "P14", f"{work}: largest process over that by hand",
            round(peak["ours"] / peak["hand"], 3), "x", 1.1, True,
            f"{peak['ours']:,.0f} against {peak['hand']:,.0f} MiB",
        ),
        Row(
            "P14", f"{work}: rows/s over one process of two threads",
            round(speed["ours"] / speed["one"], 3), "x", how=by_one,
        ),
    ]  # fmt: skip


def _ours(run: Path, size: int, steps: int, ranks: int) -> Job:
    data = run.parent / "rows.parquet"
    overrides = [f"features.C{number + 1}.vocab={size}" for number in range(26)]
    overrides += [f"train.steps={steps}", f"train.log_every={steps // 8}", "data.synthetic=null"]
    if not data.exists():
        data.parent.mkdir(parents=True, exist_ok=True)
        recipe = compile_recipe(RECIPE, overrides=overrides[:26]).recipe
        write_rows(recipe, data, BATCH * max(8, steps // 4))
    words = [sys.executable, "-m", "graphrec", "train", str(RECIPE), "--run", str(run), "--quiet"]
    words += [word for text in (*overrides, f"data.train={data}") for word in ("-o", text)]
    words += ["--nproc", str(ranks)] if ranks > 1 else []
    peak = _run(words, 2 // ranks)[-1]
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    windows = [line["rows_per_s"] for line in lines if line["kind"] == "train"]
    return Job(statistics.median(windows[len(windows) // 2 :]), float(peak))


def _hand(size: int, steps: int) -> Job:
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    words += ["-m", "bench.hand_ranks", "--rows", str(size), "--batch", str(BATCH)]
    lines = _run([*words, "--steps", str(steps)], 1)
    return Job(json.loads(lines[-2])["rows_per_s"], float(lines[-1]))


def _run(words: list[str], threads: int) -> list[str]:
    """The lines it prints, the last of them its largest process in MiB."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *words],
        env=env, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(words[:6])} ... ended with {done.stderr[-2000:]}")
    return done.stdout.splitlines()
