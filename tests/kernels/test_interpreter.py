"""Runs each file of tests/kernels/interpreter in a process of its own, where Triton's interpreter is on."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "interpreter"


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("test_*.py")))
def test_the_kernels_in_the_interpreter(name: str, soak: bool) -> None:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("needs triton")
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(FOLDER / name)]
    done = subprocess.run(
        [sys.executable, *words, *(["--soak"] if soak else [])],
        cwd=FOLDER.parent.parent.parent,
        env={**os.environ, "TRITON_INTERPRET": "1", "GRAPHREC_KERNELS": "triton"},
        capture_output=True,
        text=True,
        timeout=3600 if soak else 900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None and int(passed[1]) >= 1, done.stdout[-2000:]
    assert "skipped" not in done.stdout, done.stdout[-2000:]


BF16 = """
import torch
from graphrec.kernels import TritonMLP
from graphrec.nn import MLP

torch.manual_seed(0)
plain = MLP(24, [16], out=3).bfloat16()
fused = TritonMLP(24, [16], out=3).bfloat16()
fused.load_state_dict(plain.state_dict())
x = torch.randn(7, 24).bfloat16()
off = (fused(x).float() - plain(x).float()).abs().max()
assert off < 0.05, off
print("close")
"""


def test_the_package_itself_makes_bf16_right_in_the_interpreter() -> None:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("needs triton")
    done = subprocess.run(
        [sys.executable, "-c", BF16],
        cwd=FOLDER.parent.parent.parent,
        env={**os.environ, "TRITON_INTERPRET": "1", "GRAPHREC_KERNELS": "triton"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout == "close\n", done.stdout + done.stderr[-2000:]
