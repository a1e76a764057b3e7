"""Jobs of several ranks, started as a user would; one job is asked many things, since each costs
some twenty seconds of importing torchrec."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 240  # seconds: this machine may be busy

Job = Callable[..., "subprocess.CompletedProcess[str]"]


def environment() -> dict[str, str]:
    """One thread a rank, and this checkout."""
    own = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return {**own, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def graphrec(words: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """`graphrec WORDS`, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "graphrec", *map(str, words)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def torchrun(script: Path, ranks: int, *words: str) -> subprocess.CompletedProcess[str]:
    """A script of a test on so many ranks."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc_per_node", str(ranks), str(script), *words),
        ],
        cwd=script.parent,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def records(run: Path, kind: str = "train") -> list[dict[str, Any]]:
    """The lines of metrics.jsonl of that kind."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return lambda *words: graphrec(words, tmp_path)
