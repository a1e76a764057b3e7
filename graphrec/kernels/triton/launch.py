"""What launchers share: alignment, accumulator, precision, the interpreter."""

from __future__ import annotations

import os

import torch
import torch.nn.functional as F
import triton.language as tl
from torch import Tensor

__all__ = ["ALIGN", "accumulator", "aligned", "interpreted", "precision", "wide"]

ALIGN = 16
"""Elements that a row must be a multiple of for vector loads and asynchronous copies."""


def aligned(matrix: Tensor, rows_too: bool = False) -> Tensor:
    """The matrix, or a copy with zeros behind each row: widths are multiples of 16 elements.

    With `rows_too` the number of rows becomes one as well, as it must where a row is a width of
    something else.
    """
    below = -matrix.shape[0] % ALIGN if rows_too else 0
    behind = -matrix.shape[1] % ALIGN
    return F.pad(matrix, (0, behind, 0, below)) if behind or below else matrix.contiguous()


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
