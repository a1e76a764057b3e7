"""What a pass may ask about the machine and what was measured: passed as a value, never global."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from graphrec.blocks.base import Kernel
from graphrec.compiler.kernel_lock import Entry

__all__ = ["COMPILER", "TABLE_KERNELS", "KernelRequests", "Measured", "Purpose", "Target"]

Purpose = Literal["train", "inference"]
"""What a module is compiled for."""

COMPILER = "C++ compiler"
"""What stands among a target's modules where g++ or c++ (or $CXX) is on the PATH."""

TABLE_KERNELS: Mapping[str, Kernel] = {
    "torch": Kernel("graphrec.nn:Embeddings"),
    "native": Kernel("graphrec.nn:Embeddings", devices=("cpu",), needs=(COMPILER,)),
    "fbgemm": Kernel("graphrec.nn:Embeddings", devices=("cpu",), needs=("fbgemm_gpu",)),
}
"""Kernels of the tables, which are no block: one layer, told by its argument `kernel`."""


@dataclass(frozen=True)
class KernelRequests:
    """The recipe's `kernels:` section, and which of its paths an override set."""

    default: str = "auto"
    by_block: Mapping[str, str] = field(default_factory=dict)
    by_node: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False
    overridden: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Measured:
    """Entries of kernels.lock by key, and what else a key is made of.

    `batch` is the recipe's, `lengths` are the longest histories by sequence, `update` names the
    optimizer of the tables.
    """

    batch: int = 1
    lengths: Mapping[str, int] = field(default_factory=dict)
    update: str = ""
    entries: Mapping[str, Entry] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """A device to compile for, the modules it has, the arithmetic, requests and measurements.

    `purpose` `inference` allows what needs no gradients: the weights are those of training.
    """

    device: str = "cpu"
    modules: frozenset[str] = frozenset()
    precision: str = "fp32"
    requests: KernelRequests = KernelRequests()
    purpose: Purpose = "train"
    measured: Measured = Measured()

    @classmethod
    def here(
        cls,
        device: str = "cpu",
        precision: str = "fp32",
        requests: KernelRequests | None = None,
        purpose: Purpose = "train",
        measured: Measured | None = None,
    ) -> Target:
        """This machine's packages; CPU unless a device is named, so bytes are the same anywhere."""
        modules = {m for m in ("triton", "fbgemm_gpu") if importlib.util.find_spec(m)}
        if shutil.which(os.environ.get("CXX") or "g++") or shutil.which("c++"):
            modules.add(COMPILER)
        return cls(
            device,
            frozenset(modules),
            precision,
            requests or KernelRequests(),
            purpose,
            measured or Measured(),
        )
