"""What is compiled ahead of time: see ahead_of_time.py; the cases are in the folder `cases`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

__all__ = ["Case", "kind", "of_gemm", "of_loop"]


class Case(NamedTuple):
    """One call of a launcher to compile, and how many kernels it launches.

    With `cores` tensor-core instructions are due, without it there must be none: exact fp32 has
    none. `due` says what else: "wgmma" (Hopper's own, of 64 rows and more), "vectors" (some),
    "aligned" (all tiles move in vectors of 16 bytes), "copies" (asynchronous ones), "nan" (no
    maximum or minimum that drops a NaN). `planted` ones are wrong on purpose: too many registers, too much
    memory or something due is not there; at least one kernel must be found so.
    """

    name: str
    cores: bool
    launch: Callable[[], object]
    planted: bool = False
    launches: int = 1
    due: tuple[str, ...] = ()


def kind(dtype: torch.dtype) -> str:
    """Its name without `torch.`."""
    return str(dtype).removeprefix("torch.")


def of_gemm(rows: int, ieee: bool = False) -> tuple[str, ...]:
    """What is due of a GEMM with an epilogue whose tile has so many rows."""
    return "aligned", "copies", "nan", *(["wgmma"] if rows >= 64 and not ieee else [])


def of_loop(columns: int, dtype: torch.dtype) -> tuple[str, ...]:
    """What is due of a kernel that passes over rows of so many numbers."""
    whole = columns * dtype.itemsize % 16 == 0
    return "copies", "nan", *(["aligned"] if whole else [])
