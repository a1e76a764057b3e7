"""x W^T, with a rectifier behind it if asked, and gradients: as fast as this processor can.

torch computes float32 products on a CPU with MKL. On AMD processors MKL runs at about half the
speed of oneDNN, which is there as well: large products go to oneDNN there.
GRAPHREC_ONEDNN=1 or 0 in the environment decides otherwise. A run is repeatable either way; between
the two the last digits differ, as between processors.

Everything that a training step does between two products goes through memory once, see
native/passes.cpp: rectifier, sum of the bias, and the transpose that oneDNN reads fastest.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from graphrec.nn.native.passes import passes

__all__ = ["goes_to_onednn", "cast_input", "product"]

T = TypeVar("T")

_LARGE = 1 << 21
"""Multiplications of a product from which oneDNN wins; below, calling it costs more."""


def product(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, rectified: bool = False
) -> Tensor:
    """`F.linear`, or relu of it if `rectified`: x [..., in], W [out, in], b [out]; [..., out].

    What it returns is no view, and may be overwritten unless `rectified`.
    """
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        x = x.to(weight.dtype)  # sums of softmaxes are float32, whatever the module was cast to
    onednn = goes_to_onednn(x, weight)
    if torch.is_grad_enabled() and (onednn or (rectified and _pays(x, weight))):
        out: Tensor = _Layer.apply(x, weight, bias, rectified)  # type: ignore[no-untyped-call]
        return out
    y = _times(x, weight, bias) if onednn else F.linear(x, weight, bias)
    return torch.relu_(y) if rectified else y


def goes_to_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether `product` gives x and W [out, in] to oneDNN: large float32 matrices [M, in]."""
    return (
        _is_large(x, weight)
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and _wanted()
    )


def cast_input(x: T) -> T | Tensor:
    """x as the products behind it read it under autocast: one copy for all of them.

    What is no tensor, as a `Split`, is cast by its readers.
    """
    if not isinstance(x, Tensor) or x.dtype != torch.float32:
        return x
    device = x.device.type
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return x
    return x.to(torch.get_autocast_dtype(device))


def _is_large(x: Tensor, weight: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()  # first: sizes may be symbols there
        and x.dim() == 2
        and x.device.type == "cpu"
        and x.numel() * weight.shape[0] >= _LARGE
    )


def _pays(x: Tensor, weight: Tensor) -> bool:
    """Whether a rectified layer gains by gradients in fewer passes, in the types that they know."""
    if not _is_large(x, weight) or passes() is None:
        return False
    low = torch.is_autocast_enabled("cpu")
    if low and torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return False
    known = (torch.float32, torch.bfloat16) if low else (torch.float32,)
    return x.dtype in known and weight.dtype == torch.float32


@cache
def _wanted() -> bool:
    setting = os.environ.get("GRAPHREC_ONEDNN")
    if setting is not None:
        return setting == "1"
    known = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return known and _vendor() == "AuthenticAMD"


@cache
def _bf16_by_onednn() -> bool:
    known = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return known and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _vendor() -> str:
    """Who made the processor, as it says itself; empty where that is not to be read."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id"))
    return next(named, "")


class _Layer(torch.autograd.Function):
    """Linear and rectifier: x [M, K], W [N, K], b [N] or None; under autocast in bfloat16."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rectified: bool
    ) -> Tensor:
        ctx.types = [given if given is None else given.dtype for given in (x, weight, bias)]
        x, weight = cast_input(x), cast_input(weight)
        y = _times(x, weight, None if bias is None else cast_input(bias))
        if rectified:
            y = y.relu_()  # not oneDNN's own, which makes 0 of NaN
        ctx.save_for_backward(x, weight, y if rectified else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y = ctx.saved_tensors
        for_x, for_weight, for_bias, _ = ctx.needs_input_grad
        # oneDNN would copy a transposed left factor of float32.
        grad, transposed, of_bias = _behind(grad, y, for_weight and _by_onednn(grad), for_bias)
        of_weight = _of_weight(grad, transposed, x) if for_weight else None
        del transposed, y  # as much memory as the activation takes, each
        of_x = _times(grad, weight.t()) if for_x else None
        grads = (of_x, of_weight, of_bias)
        kept = (g if g is None else g.to(t) for g, t in zip(grads, ctx.types, strict=True))
        return *kept, None


def _behind(
    grad: Tensor, y: Tensor | None, turn: bool, bias: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The gradient before the rectifier (if there is one), its transpose and its columns' sums."""
    fused = passes() if type(grad) is Tensor else None
    if y is not None and fused is not None:
        return fused.rectify(grad, y, transposed=turn, bias=bias)
    if y is not None:
        grad = torch.ops.aten.threshold_backward(grad, y, 0)
    transposed = grad.t().contiguous() if turn else None
    return grad, transposed, grad.sum(0) if bias else None


def _of_weight(grad: Tensor, transposed: Tensor | None, x: Tensor) -> Tensor:
    """grad^T x, [N, K]."""
    return torch.mm(grad.t(), x) if transposed is None else _times(transposed, x.t())


def _by_onednn(x: Tensor) -> bool:
    """Whether oneDNN multiplies it, and wants its left factor row by row."""
    return x.dtype == torch.float32 and _wanted()


def _times(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b, all of one type."""
    if not (_wanted() if x.dtype == torch.float32 else _bf16_by_onednn()):
        return F.linear(x, weight, bias)
    # A right factor with gaps between its rows makes oneDNN some thousand times slower.
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out
