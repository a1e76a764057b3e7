"""What the GEMMs with an epilogue share: the sum over the depth, column sums, and their launchers.

Kernel rules: load, then cast to the accumulator at once (bf16 is only ever a dot operand or a
store); no atomics, so equal runs give equal bits; the number of rows is not specialised, so the
last batch of an epoch compiles nothing new; widths and strides come in units (`launch.unit`).
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.triton.launchers import unit, wide

__all__ = [
    "MOST_PROGRAMS",
    "across",
    "aligned_empty",
    "aligned_layer",
    "aligned_row",
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
    x_rows,
    weight_rows,
    in_m,
    in_n,
    depth,
    ACC: tl.constexpr,
    PRECISION: tl.constexpr,
    BK: tl.constexpr,
):
    """The tile of x W^T in ACC, of rows that begin at x_rows [BM] and weight_rows [BN]; zero where
    in_m and in_n are not.
    """
    k = tl.arange(0, BK)
    x_tile = x_rows[:, None] + k[None, :]
    weight_tile = weight_rows[None, :] + k[:, None]
    acc = tl.zeros((x_rows.shape[0], weight_rows.shape[0]), ACC)
    for start in range(0, depth, BK):
        in_k = start + k < depth
        a = tl.load(x_tile, mask=in_m[:, None] & in_k[None, :], other=0.0)
        b = tl.load(weight_tile, mask=in_n[None, :] & in_k[:, None], other=0.0)
        acc = tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=ACC)
        x_tile += BK
        weight_tile += BK
    return acc


@triton.jit
def across(row, n, in_n, ACC: tl.constexpr):
    """The columns n of a row, as [1, BN] in ACC; zero where in_n is not."""
    return tl.load(row + n, mask=in_n, other=0.0).to(ACC)[None, :]


@triton.jit(do_not_specialize=["programs"])
def column_sum_kernel(
    sums,
    first,
    second,
    third,
    programs,
    columns,
    UNIT: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """One of up to three results: the sums over the programs of sums [results, programs, N]."""
    columns *= UNIT
    which = tl.program_id(1)
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    in_n = n < columns
    sums += which * programs * columns
    total = tl.zeros((BM, BN), sums.dtype.element_ty)
    for start in tl.range(0, programs, BM, num_stages=4):
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
            each = unit(sums, columns)
            column_sum_kernel[(triton.cdiv(columns, 32), results)](
                sums, first, second, third, programs, columns // each, UNIT=each, BM=32, BN=32
            )
    return totals


def aligned_rows(matrix: Tensor, multiple: int) -> Tensor:
    """The matrix, or a copy with zero columns behind it: rows begin and end at whole vectors, the
    width is a multiple of `multiple` elements.
    """
    more = -matrix.shape[1] % multiple
    if more:
        return F.pad(matrix, (0, more))
    begins = matrix.stride(0) % multiple == 0 and matrix.data_ptr() % 16 == 0
    if begins and matrix.stride(1) == 1:
        return matrix
    return matrix.clone(memory_format=torch.contiguous_format)


def aligned_row(row: Tensor, multiple: int) -> Tensor:
    """The same for a row [N]."""
    more = -row.shape[0] % multiple
    return F.pad(row, (0, more)) if more else row.contiguous()


def aligned_layer(
    weight: Tensor, bias: Tensor | None, multiple: int
) -> tuple[Tensor, Tensor | None]:
    """Weight [N, K] and bias [N] with N and K made multiples by zeros; no copy if they are.

    Unaligned stores made the compiler spill registers.
    """
    more = -weight.shape[0] % multiple
    if more:
        weight = F.pad(weight, (0, 0, 0, more))
    return aligned_rows(weight, multiple), None if bias is None else aligned_row(bias, multiple)


def aligned_empty(like: Tensor) -> Tensor:
    """Room for [M, N] whose rows begin at whole vectors, for the GEMMs that read it.

    The gap behind each row is zeros: oneDNN's bf16 products on processors with AMX read it and
    multiply it by zeros, and what memory held before may be NaN.
    """
    rows, columns = like.shape
    whole = like.new_empty(rows, columns + -columns % unit(like))
    whole[:, columns:] = 0
    return whole[:, :columns]
