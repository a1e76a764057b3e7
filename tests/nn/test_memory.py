"""Large tables ask for huge pages."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from graphrec.nn.embedding import Embeddings
from graphrec.nn.huge_pages import in_huge_pages
from graphrec.nn.seeding import drawn_later
from graphrec.nn.tables import Lookup, Table


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
