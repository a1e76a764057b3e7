"""Freed memory is kept unless somebody says otherwise, and steps then find their pages again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys, torch, graphrec.nn
from graphrec.nn.memory import keep_freed_memory
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    return len([torch.ones(3_000_000) for _ in range(6)])  # 72 MB
step(); step()
before = faults()
for _ in range(10): step()
print(keep_freed_memory(), (faults() - before) // 10)
"""


def run(**settings: str) -> tuple[str, int]:
    """What `keep_freed_memory` says, and page faults per step."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, env=kept | settings, capture_output=True, text=True, check=True)
    said, faults = done.stdout.split()
    return said, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc only")
@pytest.mark.parametrize(
    ("settings", "kept"),
    [({}, True), ({"GRAPHREC_MALLOC": "0"}, False), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False)],
)
def test_freed_memory_is_kept_unless_told_otherwise(settings: dict[str, str], kept: bool) -> None:
    said, faults = run(**settings)
    assert said == str(kept)
    assert (faults < 3000) == kept  # 72 MB are 18,000 pages
