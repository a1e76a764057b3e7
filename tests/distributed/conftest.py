"""Jobs of several ranks, started as a user would.

One job is asked many things: each costs some fifteen seconds, of which importing torchrec is most.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 240  # seconds: this machine may be busy
RANK = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


class Jobs:
    """Runs `graphrec WORDS` in a folder, with one thread a rank."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: object, **more: Any) -> subprocess.CompletedProcess[str]:
        """A command, to its end."""
        return subprocess.run(
            self._words(words),
            **self._settings(more),
            capture_output=True,
            timeout=LIMIT,
            check=False,
        )

    def start(self, *words: object, **more: Any) -> subprocess.Popen[str]:
        """A command that the test goes on beside; its output is one text."""
        return subprocess.Popen(
            self._words(words),
            **self._settings(more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def records(self, run: str | Path, kind: str = "train") -> list[dict[str, Any]]:
        """The lines of a run's metrics.jsonl of that kind."""
        lines = (self.folder / run / "metrics.jsonl").read_text().splitlines()
        return [record for record in map(json.loads, lines) if record["kind"] == kind]

    def _words(self, words: tuple[object, ...]) -> list[str]:
        first = [] if words[:1] == ("-m",) else ["-m", "graphrec"]
        return [sys.executable, *first, *map(str, words)]

    def _settings(self, more: dict[str, Any]) -> dict[str, Any]:
        own = {name: value for name, value in os.environ.items() if name not in RANK}
        env = {**own, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        return {"cwd": self.folder, "env": {**env, **more.pop("env", {})}, "text": True, **more}


@pytest.fixture
def job(tmp_path: Path) -> Jobs:
    """`job("train", recipe, "--nproc", 2)` in the test's own folder."""
    return Jobs(tmp_path)
