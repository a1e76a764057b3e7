"""P11: peak memory of training steps above tables and optimizer state, in a process of its own.

Every table and every state is touched first; then the peak of the process's resident memory
begins anew (/proc/self/clear_refs), so all allocators are seen: torch's, FBGEMM's, our kernel's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.options import Options
from bench.results import Row

__all__ = ["rows"]

BATCH, STEPS, WANTED = 4096, 5, 1.1
CASES = ("deepfm", "dbmtl", "mmoe", "ple")
ROOT = Path(__file__).resolve().parents[2]


def rows(options: Options) -> list[Row]:
    """A figure for every model."""
    found = []
    for case in CASES[: 2 if options.quick else None]:
        size = options.batch(BATCH)
        grown = {who: _measured(case, who, size, options.threads) for who in ("ours", "TBE", "low")}
        work = f"{case} B {size}: MiB above tables and state, ours / hand TBE"
        if not all(grown.values()):
            found.append(Row("P11", work, None, wanted=WANTED, most=True, how="no figure"))
            continue
        how = f"{grown['ours']:.0f} against {grown['TBE']:.0f} MiB"
        value = round(grown["ours"] / grown["TBE"], 3)
        found.append(Row("P11", work, value, "x", WANTED, True, how))
        work = f"{case} B {size}: MiB above tables and state, train.memory: low / normal"
        how = f"{grown['low']:.0f} against {grown['ours']:.0f} MiB"
        found.append(Row("P11", work, round(grown["low"] / grown["ours"], 3), "x", 0.5, True, how))
    return found


def _measured(case: str, who: str, size: int, threads: int) -> float | None:
    command = [sys.executable, "-m", "bench.goals.memory", case, who, str(size), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    return float(json.loads(lines[-1])) if done.returncode == 0 and lines else None


def _main(case: str, who: str, size: str, threads: str) -> None:
    """Print how many MiB the peak of some steps is above what was there before."""
    from graphrec.train.process import prepare_process

    prepare_process()
    import torch

    from bench.cases import batches, compiled
    from bench.models.pieces import Tables
    from bench.steps import by_hand, generated
    from graphrec.train.recompute import recompute_nodes

    torch.set_num_threads(int(threads))
    model = compiled(case)
    data = batches(model, int(size), count=STEPS)
    tables: list[torch.Tensor] = []
    if who in ("ours", "low"):
        made = generated(model, data)
        if who == "low":
            recompute_nodes(made.module)
        optimizers = made.optimizers
        assert optimizers is not None
        tables = [slot for table in optimizers.tables for slot in table.rows.slots.values()]
    else:
        made = by_hand(case, model, data, tables=who)
        assert isinstance(made.module.tables, Tables)
        tables = [*made.module.tables.weights(), *made.module.tables.state()]
    with torch.no_grad():
        for values in (*made.module.parameters(), *tables):
            values.add_(0.0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    for _ in range(STEPS):
        made.step()
    print(json.dumps((_resident("VmHWM") - before) / 1024))


def _resident(key: str) -> int:
    """Kibibytes of resident memory: now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


if __name__ == "__main__":
    _main(*sys.argv[1:])
