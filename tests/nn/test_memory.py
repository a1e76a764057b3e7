"""Freed memory is kept unless somebody says otherwise, and steps then find their pages again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from graphrec.nn.embedding import Embeddings
from graphrec.nn.memory import in_huge_pages
from graphrec.nn.seeding import drawn_later
from graphrec.nn.tables import Lookup, Table

CODE = """
import resource, sys, torch, graphrec.nn
from graphrec.nn.memory import keep_freed_memory
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    before = faults()
    blocks = [torch.ones(3_000_000) for _ in range(12)]  # 144 MB
    del blocks
    return faults() - before
step(); step()
print(keep_freed_memory(), min(step() for _ in range(10)))  # the system may add some, not always
"""


def run(**settings: str) -> tuple[str, int]:
    """What `keep_freed_memory` says, and the page faults of the step that had fewest."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, env=kept | settings, capture_output=True, text=True, check=True)
    said, faults = done.stdout.split()
    return said, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc only")
def test_freed_memory_is_kept() -> None:
    assert run() == ("True", pytest.approx(0, abs=200))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc only")
def test_somebody_elses_settings_stay() -> None:
    assert run(GRAPHREC_MALLOC="0")[0] == "False"
    said, faults = run(MALLOC_TRIM_THRESHOLD_="131072")
    assert said == "False" and faults > 1000  # 144 MB are 36,000 pages, mapped anew every time


@pytest.mark.skipif(platform.system() != "Linux", reason="Linux only")
def test_tables_ask_for_huge_pages() -> None:
    with drawn_later():
        large = Embeddings([Table("t", rows=1_000_000, dim=16)], [Lookup("c", table="t")])
    weight = large.get_parameter(large.table_groups[0].name)
    assert "hg" in flags_of(weight.data_ptr() + (1 << 22))
    small = torch.empty(1000)
    assert in_huge_pages(small) is small
    meta = torch.empty(1 << 30, device="meta")
    assert in_huge_pages(meta) is meta


def flags_of(address: int) -> list[str]:
    """What /proc says of the mapping that holds an address."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()[0]
        if not head.endswith(":"):
            first, _, last = head.partition("-")
            inside = int(first, 16) <= address < int(last, 16)
        elif inside and head == "VmFlags:":
            return line.split()[1:]
    raise AssertionError("no such mapping")
