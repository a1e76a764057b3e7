"""What launchers share: units, accumulator, precision, the interpreter.

In one place, because each is a promise that all kernels make alike: sums wider than their terms,
torch's own switch for tf32, rows in vectors of 16 bytes.
"""

from __future__ import annotations

import math
import os
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

__all__ = [
    "accumulator",
    "gemm_settings",
    "interpreted",
    "precision",
    "unit",
    "vendor_gemm",
    "wide",
]


def unit(x: Tensor, *sizes: int) -> int:
    """Elements of x in a vector of 16 bytes, or the largest part of it that divides all sizes.

    Kernels take widths and strides counted in units and multiply: of a bare integer the compiler
    learns at most that it is a multiple of 16, and 8 elements of bf16 are a vector already.
    """
    return math.gcd(16 // x.element_size(), *sizes)


def accumulator(x: Tensor) -> tl.dtype:
    """The type that sums are kept in."""
    return tl.float64 if x.dtype == torch.float64 else tl.float32


def wide(x: Tensor) -> torch.dtype:
    """The accumulator, as a type of tensors."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def precision() -> str:
    """fp32 products follow torch's own switch; Triton's default would be tf32 always."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def vendor_gemm(x: Tensor) -> bool:
    """Whether products of x are left to the vendor's GEMM: exact fp32 has no tensor cores, and
    there it is far ahead of what a fused epilogue could save.
    """
    return not interpreted() and x.dtype == torch.float32 and precision() == "ieee"


def gemm_settings(x: Tensor, tile: tuple[Any, ...]) -> dict[str, Any]:
    """What every product of tiles is compiled for: rows or steps, columns, depth, warps, stages."""
    rows, columns, depth, warps, stages, *_ = tile
    return {
        **{"ACC": accumulator(x), "PRECISION": precision()},
        **{"BM": rows, "BN": columns, "BK": depth},
        **{"num_warps": warps, "num_stages": stages},
    }
