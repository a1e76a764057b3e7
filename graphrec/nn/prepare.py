"""Make a module ready to predict: what training needs goes, what it repeats is done once."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn

from graphrec.nn.piecewise import pack

__all__ = ["prepare"]

Module = TypeVar("Module", bound=nn.Module)


def prepare(module: Module, dtype: torch.dtype | None = None) -> Module:
    """Prepare `module` for inference, in place, after its weights are loaded; returns it.

    Evaluation mode, no gradients; every Linear gets a copy of its weights with the batch norm
    behind it folded in, cast to `dtype` once (None: as they are) and packed for the CPU. Layers
    take and give the types they took and gave before; tables, norms and sums keep theirs. Keys and
    values of `state_dict` stay as they were. A module is prepared once: a RuntimeError otherwise.

    A layer joins in with `make_ready(dtype)`, which makes its copies and returns those of its
    children that they stand for.

    >>> from graphrec.nn import MLP
    >>> prepare(MLP(8, [4], norm="batch"))(torch.ones(2, 8)).shape
    torch.Size([2, 4])
    """
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(f"`dtype` is a type of weights such as torch.bfloat16, got {dtype}")
    if any(getattr(part, "ready", None) is not None for part in module.modules()):
        raise RuntimeError("the module is already prepared")
    pack(module).eval().requires_grad_(False)
    with torch.no_grad():
        _walk(module, dtype)
    return module


def _walk(part: nn.Module, dtype: torch.dtype | None) -> None:
    make: Any = getattr(part, "make_ready", None)
    done = tuple(make(dtype)) if callable(make) else ()
    for child in part.children():
        if all(child is not other for other in done):
            _walk(child, dtype)
