"""The command line as its users meet it: another process, another folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RECIPE = """\
graphrec: 1
name: small
data: {synthetic: 600}
features:
  - {type: id, names: {user: 50, item: 20}, dim: 4}
  - {type: dense, names: price}
graph:
  deep: {block: mlp, in: all, hidden: [8]}
tasks:
  click: {label: click, in: deep}
train: {batch: 128}
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with `small.yaml` in it."""
    (tmp_path / "small.yaml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def graphrec(here: Path) -> Run:
    """`graphrec("check", "small.yaml")` in the folder `here`."""

    def run(*words: str, **settings: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **settings.pop("env", {})}  # type: ignore[dict-item]
        command = [sys.executable, "-m", "graphrec", *words]
        return subprocess.run(
            command,
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            **settings,  # type: ignore[call-overload]
        )

    return run
