"""What the GEMMs with an epilogue share: the sum over the depth, column sums, and their launchers.

Kernel rules: load, then cast to the accumulator at once (bf16 is only ever a dot operand or a
store); no atomics, so equal runs give equal bits; the number of rows is not specialised, so the
last batch of an epoch compiles nothing new.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.triton.launch import ALIGN, wide

__all__ = [
    "MOST_PROGRAMS",
    "aligned_layer",
    "aligned_rows",
    "column_sums",
    "partial_sums",
    "place",
    "product",
]

MOST_PROGRAMS = 512
"""Rows of partial column sums; a constant, so that no result depends on the GPU's size."""


@triton.jit
def place(rows, columns, BM: tl.constexpr, BN: tl.constexpr):
    """Rows m (int64) and columns n of this program's tile.

    Programs go down eight tiles of rows before the next tiles of columns: what runs at one time is
    nearly a square, so it asks the cache for few different rows of x and of the weights.
    """
    down, across = tl.cdiv(rows, BM), tl.cdiv(columns, BN)
    program = tl.program_id(0)
    first = program // (8 * across) * 8
    height = tl.minimum(down - first, 8)
    within = program % (8 * across)
    m = (first + within % height).to(tl.int64) * BM + tl.arange(0, BM)
    n = within // height * BN + tl.arange(0, BN)
    return m, n


@triton.jit
def product(
    x,
    weight,
    bias,
    m,
    n,
    rows,
    columns,
    depth,
    x_stride,
    weight_stride,
    HAS_BIAS: tl.constexpr,
    ACC: tl.constexpr,
    PRECISION: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """The tile of x W^T + b at rows m and columns n, in ACC; zero outside."""
    k = tl.arange(0, BK)
    in_m, in_n = m < rows, n < columns
    x_tile = x + m[:, None] * x_stride + k[None, :]
    weight_tile = weight + n[None, :] * weight_stride + k[:, None]
    acc = tl.zeros((BM, BN), ACC)
    for start in range(0, depth, BK):
        in_k = start + k < depth
        a = tl.load(x_tile, mask=in_m[:, None] & in_k[None, :], other=0.0)
        b = tl.load(weight_tile, mask=in_n[None, :] & in_k[:, None], other=0.0)
        acc = tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=ACC)
        x_tile += BK
        weight_tile += BK
    if HAS_BIAS:
        acc += tl.load(bias + n, mask=in_n, other=0.0).to(ACC)[None, :]
    return acc


@triton.jit(do_not_specialize=["programs"])
def column_sum_kernel(
    sums, first, second, third, programs, columns, BM: tl.constexpr, BN: tl.constexpr
):
    """One of up to three results: the sums over the programs of sums [results, programs, N]."""
    which = tl.program_id(1)
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    in_n = n < columns
    sums += which * programs * columns
    total = tl.zeros((BM, BN), sums.dtype.element_ty)
    for start in range(0, programs, BM):
        m = start + tl.arange(0, BM)
        inside = (m < programs)[:, None] & in_n[None, :]
        total += tl.load(sums + m[:, None] * columns + n[None, :], mask=inside, other=0.0)
    result = tl.sum(total, 0)
    if which == 0:
        tl.store(first + n, result.to(first.dtype.element_ty), mask=in_n)
    elif which == 1:
        tl.store(second + n, result.to(second.dtype.element_ty), mask=in_n)
    else:
        tl.store(third + n, result.to(third.dtype.element_ty), mask=in_n)


def partial_sums(results: int, programs: int, like: Tensor) -> Tensor:
    """Room for the column sums of every program: [results, programs, N] for `like` [M, N]."""
    return like.new_empty(results, programs, like.shape[1], dtype=wide(like))


def column_sums(sums: Tensor, dtypes: Sequence[torch.dtype]) -> list[Tensor]:
    """The sums over the programs of [results, programs, N]: up to three [N] in their `dtypes`."""
    results, programs, columns = sums.shape
    totals = [sums.new_empty(columns, dtype=dtype) for dtype in dtypes]
    if not programs:
        return [total.zero_() for total in totals]
    if results:
        first, second, third = (*totals, *totals, *totals)[:3]
        with torch.cuda.device_of(sums):
            column_sum_kernel[(triton.cdiv(columns, 32), results)](
                sums, first, second, third, programs, columns, BM=32, BN=32
            )
    return totals


def aligned_rows(matrix: Tensor) -> Tensor:
    """The matrix, or a copy with zero columns behind it: rows are multiples of 16 elements."""
    width = matrix.shape[1]
    if width % ALIGN:
        return F.pad(matrix, (0, -width % ALIGN))
    whole = matrix.stride(1) == 1 and matrix.stride(0) % ALIGN == 0
    return matrix if whole else matrix.contiguous()


def aligned_layer(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Weight [N, K] and bias [N] with N and K made multiples of 16 by zeros; no copy if they are.

    Unaligned stores made the compiler spill registers.
    """
    extra = -weight.shape[0] % ALIGN
    if extra:
        weight = F.pad(weight, (0, 0, 0, extra))
        bias = None if bias is None else F.pad(bias, (0, extra))
    return aligned_rows(weight), None if bias is None else bias.contiguous()
