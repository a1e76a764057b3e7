"""What a pass may ask about the machine: passed as a value, never global."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["KernelWishes", "Target"]


@dataclass(frozen=True)
class KernelWishes:
    """The recipe's `kernels:` section, and which of its paths an override set."""

    default: str = "auto"
    by_block: Mapping[str, str] = field(default_factory=dict)
    by_node: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False
    overridden: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Target:
    """A device to compile for, the modules it has, the arithmetic, and the kernels wished for.

    `purpose` `inference` allows what needs no gradients: the weights are those of training.
    """

    device: str = "cpu"
    modules: frozenset[str] = frozenset()
    precision: str = "fp32"
    wishes: KernelWishes = KernelWishes()
    purpose: Literal["train", "inference"] = "train"

    @classmethod
    def here(
        cls,
        device: str = "cpu",
        precision: str = "fp32",
        wishes: KernelWishes | None = None,
        purpose: Literal["train", "inference"] = "train",
    ) -> Target:
        """This machine's packages; CPU unless a device is named, so bytes are the same anywhere."""
        modules = frozenset(m for m in ("triton", "fbgemm_gpu") if importlib.util.find_spec(m))
        return cls(device, modules, precision, wishes or KernelWishes(), purpose)
