"""Compiles every kernel for GPUs that are not here, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
OPERATORS = sorted(path.stem for path in (HERE / "cases").glob("[a-z]*.py"))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("target", ["cuda:80", "cuda:90"])
def test_every_kernel_compiles_within_its_limits(
    target: str, operator: str, pytestconfig: pytest.Config, tmp_path: Path, soak: bool
) -> None:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("needs triton")
    if target == "cuda:80" and not soak:
        pytest.skip("the older device is of the long form: --soak")
    # Compiled kernels are kept between runs by the hash of everything that went into them.
    kept = pytestconfig.cache
    folder = tmp_path if kept is None else kept.mkdir("triton")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(folder)}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, str(HERE / "ahead_of_time.py"), target, "--of", operator],
        cwd=HERE.parent.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "planted" in done.stdout and done.stdout.count("\n") > 10, done.stdout[-2000:]
