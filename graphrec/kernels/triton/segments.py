"""Triton: softmax within rows of steps and sums over them, in one pass, without padding.

Histories are of all lengths: padded to the longest, most of what moves is zeros; and torch writes
and reads every step again for the maximum, the powers, their sum, the shares and the product. Here
a program goes once over the steps of its rows with a running maximum and sum.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.triton.attention_rows import (
    FEW,
    ROWS,
    any_nan,
    place,
    program_rows,
    row_sums,
    softmax_step,
    value_of_row,
)
from graphrec.kernels.triton.attention_tiles import (
    SegmentTile,
    rows_of_program,
    segment_tile,
)
from graphrec.kernels.triton.launchers import accumulator, precision, unit, wide

__all__ = ["backward", "forward", "sum_of_rows"]


# fmt: off
@triton.jit
def weighted_sums(
    scores, values, n, begin, end, high, columns,
    ACC: tl.constexpr, PRECISION: tl.constexpr, BT: tl.constexpr, BN: tl.constexpr,
    CAREFUL: tl.constexpr,
):
    """(tops, sums of the exponentials, sums of columns n of the values) of a program's rows."""
    TYPE: tl.constexpr = values.dtype.element_ty
    in_n = n < columns
    # Low, but not -inf: the difference of two infinities is NaN.
    top, whole = tl.full((ROWS,), -1e38, ACC), tl.zeros((ROWS,), ACC)
    total = tl.zeros((ROWS, BN), ACC)
    for start in range(0, high, BT):
        step = start + tl.arange(0, BT)
        here = step < high
        inside, _ = place(step, begin, end)
        s = tl.load(scores + step, mask=here, other=0.0).to(ACC)
        at = values + step[:, None] * columns + n[None, :]
        v = tl.load(at, mask=here[:, None] & in_n[None, :], other=0.0)
        top, whole, total = softmax_step(
            s, v, inside, top, whole, total, TYPE, ACC, PRECISION, CAREFUL
        )
    return top, whole, total


@triton.jit(do_not_specialize=["rows"])
def softmax_sum_kernel(
    scores, values, offsets, out, norm, rows, columns,
    UNIT: tl.constexpr, TAKES: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
    BT: tl.constexpr, BN: tl.constexpr,
):
    """out = sum of softmax(scores) values per row, norm = log of the sum of exponentials."""
    columns *= UNIT
    first, count, begin, end, low, high = program_rows(offsets, tl.program_id(0), rows, TAKES)
    scores += low
    values += low * columns
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    top, whole, total = weighted_sums(
        scores, values, n, begin, end, high, columns, ACC, PRECISION, BT, BN, False
    )
    if any_nan(total):
        top, whole, total = weighted_sums(
            scores, values, n, begin, end, high, columns, ACC, PRECISION, FEW, BN, True
        )
    some = end > begin
    whole = tl.where(some, whole, 1.0)
    row = tl.arange(0, ROWS)
    real = row < count
    y = total / whole[:, None]
    at = out + first * columns + row[:, None] * columns + n[None, :]
    tl.store(at, y.to(out.dtype.element_ty), mask=real[:, None] & (n < columns)[None, :])
    if tl.program_id(1) == 0:
        tl.store(norm + first + row, tl.where(some, top + tl.log(whole), 0.0), mask=real)


@triton.jit
def gradients_of_columns(
    grad, values, values_grad, p, step, here, local, n, columns, ACC: tl.constexpr,
):
    """Share of the columns n in values grad of each step; p grad goes to memory."""
    known = here[:, None] & (n < columns)[None, :]
    at = step[:, None] * columns + n[None, :]
    g = tl.load(grad + local[:, None] * columns + n[None, :], mask=known, other=0.0).to(ACC)
    v = tl.load(values + at, mask=known, other=0.0).to(ACC)
    dv = p[:, None] * g
    tl.store(values_grad + at, dv.to(values_grad.dtype.element_ty), mask=known)
    return tl.sum(v * g, 1)


@triton.jit(do_not_specialize=["rows"])
def softmax_sum_backward_kernel(
    grad, scores, values, offsets, out, norm, scores_grad, values_grad, rows, columns,
    UNIT: tl.constexpr, ONCE: tl.constexpr, TAKES: tl.constexpr, ACC: tl.constexpr,
    BT: tl.constexpr, BN: tl.constexpr, STAGES: tl.constexpr,
):
    """With p = softmax(scores): p grad, and p (values grad - out grad), in one pass.

    With ONCE all columns are one tile: the loop over the steps is then the innermost, and only
    that one can load ahead.
    """
    columns *= UNIT
    first, count, begin, end, low, high = program_rows(offsets, tl.program_id(0), rows, TAKES)
    row = tl.arange(0, ROWS)
    real = row < count
    grad += first * columns
    out += first * columns
    values += low * columns
    values_grad += low * columns
    total = tl.load(norm + first + row, mask=real, other=0.0).to(ACC)
    delta = tl.zeros((ROWS,), ACC)
    for column in range(0, columns, BN):
        n = column + tl.arange(0, BN)
        at, known = row[:, None] * columns + n[None, :], real[:, None] & (n < columns)[None, :]
        g = tl.load(grad + at, mask=known, other=0.0).to(ACC)
        delta += tl.sum(g * tl.load(out + at, mask=known, other=0.0).to(ACC), 1)
    for start in tl.range(0, high, BT, num_stages=STAGES):
        step = start + tl.arange(0, BT)
        here = step < high
        inside, local = place(step, begin, end)
        s = tl.load(scores + low + step, mask=here, other=0.0).to(ACC)
        p = tl.where(here, tl.exp(s - value_of_row(inside, total)), 0.0)
        if ONCE:
            met = gradients_of_columns(
                grad, values, values_grad, p, step, here, local, tl.arange(0, BN), columns, ACC
            )
        else:
            met = tl.zeros((BT,), ACC)
            for column in tl.range(0, columns, BN, num_stages=STAGES):
                n = column + tl.arange(0, BN)
                met += gradients_of_columns(
                    grad, values, values_grad, p, step, here, local, n, columns, ACC
                )
        ds = p * (met - value_of_row(inside, delta))
        tl.store(scores_grad + low + step, ds.to(scores_grad.dtype.element_ty), mask=here)


@triton.jit
def sums_of_steps(
    x, n, begin, end, high, columns, stride,
    ACC: tl.constexpr, PRECISION: tl.constexpr, BT: tl.constexpr, BN: tl.constexpr,
    CAREFUL: tl.constexpr,
):
    """Sums of columns n of a program's rows."""
    TYPE: tl.constexpr = x.dtype.element_ty
    total = tl.zeros((ROWS, BN), ACC)
    for start in range(0, high, BT):
        step = start + tl.arange(0, BT)
        inside, _ = place(step, begin, end)
        mask = (step < high)[:, None] & (n < columns)[None, :]
        v = tl.load(x + step[:, None] * stride + n[None, :], mask=mask, other=0.0)
        total = row_sums(inside, inside, v, total, TYPE, ACC, PRECISION, CAREFUL)
    return total


@triton.jit(do_not_specialize=["rows"])
def row_sum_kernel(
    x, offsets, out, rows, columns, stride,
    UNIT: tl.constexpr, TAKES: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
    BT: tl.constexpr, BN: tl.constexpr,
):
    """out = sum of the steps of each row."""
    columns *= UNIT
    stride *= UNIT
    first, count, begin, end, low, high = program_rows(offsets, tl.program_id(0), rows, TAKES)
    x += low * stride
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    total = sums_of_steps(x, n, begin, end, high, columns, stride, ACC, PRECISION, BT, BN, False)
    if any_nan(total):
        total = sums_of_steps(
            x, n, begin, end, high, columns, stride, ACC, PRECISION, FEW, BN, True
        )
    row = tl.arange(0, ROWS)
    at = out + first * columns + row[:, None] * columns + n[None, :]
    mask = (row < count)[:, None] & (n < columns)[None, :]
    tl.store(at, total.to(out.dtype.element_ty), mask=mask)
# fmt: on


def forward(
    scores: Tensor, values: Tensor, offsets: Tensor, tile: SegmentTile | None = None
) -> tuple[Tensor, Tensor]:
    """(sum of softmax(scores) values [B, D], log of the sum of exponentials [B]), fp32 or fp64.

    scores [T], values [T, D], offsets [B + 1].
    """
    rows, columns = offsets.shape[0] - 1, values.shape[1]
    whole = unit(values, columns)
    out = values.new_empty(rows, columns, dtype=wide(values))
    norm = values.new_empty(rows, dtype=wide(values))
    tile, takes = tile or segment_tile("softmax", values), rows_of_program(rows)
    if rows:
        with torch.cuda.device_of(values):
            softmax_sum_kernel[(triton.cdiv(rows, takes), triton.cdiv(columns, tile.columns))](
                scores.contiguous(),
                values.contiguous(),
                offsets,
                out,
                norm,
                rows,
                columns // whole,
                UNIT=whole,
                TAKES=takes,
                ACC=accumulator(values),
                PRECISION=precision(),
                BT=tile.steps,
                BN=tile.columns,
                num_warps=tile.warps,
                num_stages=tile.stages,
            )
    return out, norm


def backward(
    grad: Tensor,
    scores: Tensor,
    values: Tensor,
    offsets: Tensor,
    out: Tensor,
    norm: Tensor,
    tile: SegmentTile | None = None,
) -> tuple[Tensor, Tensor]:
    """Gradients of scores [T] and values [T, D]."""
    rows, columns = out.shape
    whole = unit(values, columns)
    scores_grad = torch.empty_like(scores, memory_format=torch.contiguous_format)
    values_grad = torch.empty_like(values, memory_format=torch.contiguous_format)
    tile, takes = tile or segment_tile("softmax_backward", values), rows_of_program(rows)
    if rows:
        with torch.cuda.device_of(values):
            softmax_sum_backward_kernel[(triton.cdiv(rows, takes),)](
                grad.contiguous(),
                scores.contiguous(),
                values.contiguous(),
                offsets,
                out,
                norm,
                scores_grad,
                values_grad,
                rows,
                columns // whole,
                UNIT=whole,
                ONCE=columns <= tile.columns,
                TAKES=takes,
                ACC=accumulator(values),
                BT=tile.steps,
                BN=tile.columns,
                STAGES=tile.stages,
                num_warps=tile.warps,
            )
    return scores_grad, values_grad


def sum_of_rows(x: Tensor, offsets: Tensor, tile: SegmentTile | None = None) -> Tensor:
    """Sum of the steps of each row, [B, N], for x [T, N] and offsets [B + 1]."""
    rows, columns = offsets.shape[0] - 1, x.shape[1]
    out, whole = x.new_empty(rows, columns), unit(x, columns, x.stride(0))
    tile, takes = tile or segment_tile("sum", x), rows_of_program(rows)
    if rows:
        with torch.cuda.device_of(x):
            row_sum_kernel[(triton.cdiv(rows, takes), triton.cdiv(columns, tile.columns))](
                x,
                offsets,
                out,
                rows,
                columns // whole,
                x.stride(0) // whole,
                UNIT=whole,
                TAKES=takes,
                ACC=accumulator(x),
                PRECISION=precision(),
                BT=tile.steps,
                BN=tile.columns,
                num_warps=tile.warps,
                num_stages=tile.stages,
            )
    return out
