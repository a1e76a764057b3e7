"""x W^T and its gradients, by the faster of the two libraries that torch has for them.

torch computes float32 products on a CPU with MKL. On AMD processors MKL runs at about half the
speed of oneDNN, which is there as well (bench/products.py): large products go to oneDNN there.
GRAPHREC_ONEDNN=1 or 0 in the environment decides otherwise. A run is repeatable either way; between
the two the last digits differ, as between processors.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["goes_to_onednn", "product"]

_LARGE = 1 << 21
"""Multiplications of a product from which oneDNN wins; below, calling it costs more."""


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` by the faster library: x [..., in], W [out, in], b [out]; [..., out]."""
    if not goes_to_onednn(x, weight):
        return F.linear(x, weight, bias)
    made: Tensor = _OneDNN.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return made


def goes_to_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether `product` gives x and W [out, in] to oneDNN: large float32 matrices [M, in]."""
    return (
        not torch.compiler.is_compiling()  # first: sizes may be symbols there
        and x.dim() == 2
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * weight.shape[0] >= _LARGE
        and not torch.is_autocast_enabled("cpu")
        and _wanted()
    )


@cache
def _wanted() -> bool:
    asked = os.environ.get("GRAPHREC_ONEDNN")
    if asked is not None:
        return asked == "1"
    known = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return known and _vendor() == "AuthenticAMD"


def _vendor() -> str:
    """Who made the processor, as it says itself; empty where that is not to be read."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id"))
    return next(named, "")


class _OneDNN(torch.autograd.Function):
    """Linear by oneDNN: x [M, K], W [N, K], b [N] or None.

    What it returns is no view, so that an activation in place behind it costs no copy.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _times(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = _times(grad, weight.t()) if ctx.needs_input_grad[0] else None
        of_weight = _of_weight(grad, x) if ctx.needs_input_grad[1] else None
        return of_x, of_weight, grad.sum(0) if ctx.needs_input_grad[2] else None


def _of_weight(grad: Tensor, x: Tensor) -> Tensor:
    """grad^T x, [N, K]; oneDNN copies the left factor once more, so that is the narrower one."""
    if grad.shape[1] <= x.shape[1]:
        return _times(grad.t(), x.t())
    return _times(x.t(), grad.t()).t().contiguous()


def _times(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    # A right factor with gaps between its rows makes oneDNN some thousand times slower.
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()
    made: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return made
