"""Who computes an operator: the Triton kernel or the reference in plain torch."""

from __future__ import annotations

import os
import warnings
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

__all__ = ["triton_twin", "whole"]

_INTERPRETED = os.environ.get("GRAPHREC_KERNELS") == "triton"
_PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)


def triton_twin(op: str, x: Tensor) -> ModuleType | None:
    """The module `graphrec.kernels.triton.<op>` if it serves `x`, else None: the reference does.

    CUDA tensors in fp32, bf16 or fp16 take it when triton is installed (a warning says when not).
    CPU tensors take it only in a process started with TRITON_INTERPRET=1 and
    GRAPHREC_KERNELS=triton; there float64 works too, and a missing triton is an error.
    """
    if x.device.type == "cuda":
        if os.environ.get("TRITON_INTERPRET") == "1":
            return _interpreted(op)
        return _if_installed(op) if x.dtype in _PRECISIONS else None
    if x.device.type != "cpu" or os.environ.get("GRAPHREC_KERNELS") != "triton":
        return None
    if os.environ.get("TRITON_INTERPRET") != "1":
        raise RuntimeError("GRAPHREC_KERNELS=triton runs CPU tensors only with TRITON_INTERPRET=1")
    return _interpreted(op)


def whole(x: Tensor) -> int:
    """Elements that the rows of x should be a multiple of: 16 bytes for Triton's kernels and the
    vendor's GEMM on a GPU, 1 where the reference computes.
    """
    served = x.device.type == "cuda" and x.dtype in _PRECISIONS
    return 16 // x.element_size() if served or _INTERPRETED else 1


def _interpreted(op: str) -> ModuleType:
    """The kernel in Triton's interpreter, which would multiply the raw bits of bf16 by itself."""
    import_module("graphrec.kernels.triton.interpreter_bf16").install()
    return import_module(f"graphrec.kernels.triton.{op}")


def _if_installed(op: str) -> ModuleType | None:
    try:
        return import_module(f"graphrec.kernels.triton.{op}")
    except ImportError as error:
        warnings.warn(f"{op} runs in plain torch: {error}", RuntimeWarning, stacklevel=2)
        return None
