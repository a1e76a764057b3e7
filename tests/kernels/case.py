"""What is compiled ahead of time: see ahead_of_time.py; the cases are in the folder `cases`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

__all__ = ["Case", "kind"]


class Case(NamedTuple):
    """One call of a launcher to compile, and how many kernels it launches.

    With `cores` tensor-core instructions are due. `planted` ones are wrong on purpose: too many
    registers, too much memory or no tensor cores; at least one kernel must be found so.
    """

    name: str
    cores: bool
    launch: Callable[[], object]
    planted: bool = False
    launches: int = 1


def kind(dtype: torch.dtype) -> str:
    """Its name without `torch.`."""
    return str(dtype).removeprefix("torch.")
