"""Triton: activation(LayerNorm(z)) row by row, and its gradient.

A program holds whole rows, so each tensor is read once and written once.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.triton.activations import activate, activation_backward_at
from graphrec.kernels.triton.gemm import (
    MOST_PROGRAMS,
    across,
    aligned_empty,
    column_sums,
    partial_sums,
)
from graphrec.kernels.triton.launchers import accumulator, interpreted, unit
from graphrec.kernels.triton.tiles import Tile, row_tile, small_row_tile

__all__ = ["backward", "norm_rows", "normalised"]


@triton.jit
def normalised(z, in_n, columns, EPS: tl.constexpr, ACC: tl.constexpr):
    """((z - mean) / deviation, 1 / deviation) of rows z [BM, BN]; zero where `in_n` is not."""
    # Two sums over registers, not one: sum(z^2) - mean^2 would lose what a large mean hides.
    mean = tl.sum(tl.where(in_n[None, :], z, 0.0), 1) / columns
    centred = tl.where(in_n[None, :], z - mean[:, None], 0.0)
    variance = tl.sum(centred * centred, 1) / columns
    # Through `full`, for a bare number would be rounded to fp32, in fp64 kernels too.
    inverse = 1.0 / tl.sqrt(variance + tl.full(variance.shape, EPS, ACC))
    return centred * inverse[:, None], inverse


@triton.jit(do_not_specialize=["rows"])
def norm_rows_kernel(
    z,
    gamma,
    beta,
    y,
    rows,
    columns,
    UNIT: tl.constexpr,
    ACT: tl.constexpr,
    EPS: tl.constexpr,
    ACC: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """y = ACT(LayerNorm(z)) of BM rows; BN holds all columns."""
    columns *= UNIT
    m = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    n = tl.arange(0, BN)
    in_n = n < columns
    inside = (m < rows)[:, None] & in_n[None, :]
    at = m[:, None] * columns + n[None, :]
    row = tl.load(z + at, mask=inside, other=0.0).to(ACC)
    row, _ = normalised(row, in_n, columns, EPS, ACC)
    row = row * across(gamma, n, in_n, ACC) + across(beta, n, in_n, ACC)
    tl.store(y + at, activate(row, ACT).to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def norm_slope_kernel(
    grad,
    z,
    gamma,
    beta,
    dz,
    sums,
    rows,
    columns,
    dz_stride,
    UNIT: tl.constexpr,
    ACT: tl.constexpr,
    EPS: tl.constexpr,
    NEED_BIAS: tl.constexpr,
    NEED_NORM: tl.constexpr,
    ACC: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """dz from grad and z, and the column sums of this program's rows; BN holds all columns."""
    columns *= UNIT
    dz_stride *= UNIT
    program, programs = tl.program_id(0), tl.num_programs(0)
    n = tl.arange(0, BN)
    in_n = n < columns
    scale, shift = across(gamma, n, in_n, ACC), across(beta, n, in_n, ACC)
    # Summed over their rows once, after the loop.
    bias_total = tl.zeros((BM, BN), ACC)
    gamma_total = tl.zeros((BM, BN), ACC)
    beta_total = tl.zeros((BM, BN), ACC)
    for start in tl.range(program * BM, rows, programs * BM, num_stages=3):
        m = start + tl.arange(0, BM).to(tl.int64)
        inside = (m < rows)[:, None] & in_n[None, :]
        at = m[:, None] * columns + n[None, :]
        d = tl.load(grad + at, mask=inside, other=0.0).to(ACC)
        row = tl.load(z + at, mask=inside, other=0.0).to(ACC)
        row, inverse = normalised(row, in_n, columns, EPS, ACC)
        if ACT != "none":
            d = activation_backward_at(d, row * scale + shift, ACT)
        if NEED_NORM:
            gamma_total += d * row
            beta_total += d
        d *= scale
        mean = tl.sum(d, 1) / columns
        along = tl.sum(d * row, 1) / columns
        d = (d - mean[:, None] - row * along[:, None]) * inverse[:, None]
        if NEED_BIAS:
            bias_total += d
        tl.store(dz + m[:, None] * dz_stride + n[None, :], d.to(dz.dtype.element_ty), mask=inside)
    at = sums + program * columns + n
    if NEED_BIAS:
        tl.store(at, tl.sum(bias_total, 0), mask=in_n)
        at += programs * columns
    if NEED_NORM:
        tl.store(at, tl.sum(gamma_total, 0), mask=in_n)
        tl.store(at + programs * columns, tl.sum(beta_total, 0), mask=in_n)


def norm_rows(
    z: Tensor, gamma: Tensor, beta: Tensor, eps: float, act: str, tile: Tile | None = None
) -> Tensor:
    """act(LayerNorm(z)) for z [M, N]."""
    rows, columns = z.shape
    each = unit(z, columns)
    y = torch.empty_like(z)
    if tile is None:
        tile = small_row_tile(columns) if interpreted() else row_tile(columns)
    if rows:
        with torch.cuda.device_of(z):
            norm_rows_kernel[(triton.cdiv(rows, tile.rows),)](
                z,
                gamma.contiguous(),
                beta.contiguous(),
                y,
                rows,
                columns // each,
                UNIT=each,
                ACT=act,
                EPS=eps,
                ACC=accumulator(z),
                BM=tile.rows,
                BN=tile.columns,
                num_warps=tile.warps,
            )
    return y


def backward(
    grad: Tensor,
    z: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    act: str,
    need_bias: bool,
    need_norm: bool,
    tile: Tile | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """dz [M, N] with rows aligned for the GEMMs, and the gradients of bias, gamma and beta [N].

    One that is not needed is empty; the last two go together.
    """
    rows, columns = grad.shape
    each = unit(grad, columns)
    dz = aligned_empty(grad)
    if tile is None:
        tile = small_row_tile(columns) if interpreted() else row_tile(columns)
    programs = min(triton.cdiv(rows, tile.rows), MOST_PROGRAMS)
    sums = partial_sums(need_bias + 2 * need_norm, programs, grad)
    if rows:
        with torch.cuda.device_of(grad):
            norm_slope_kernel[(programs,)](
                grad.contiguous(),
                z.contiguous(),
                gamma.contiguous(),
                beta.contiguous(),
                dz,
                sums,
                rows,
                columns // each,
                dz.stride(0) // each,
                UNIT=each,
                ACT=act,
                EPS=eps,
                NEED_BIAS=need_bias,
                NEED_NORM=need_norm,
                ACC=accumulator(grad),
                BM=tile.rows,
                BN=tile.columns,
                num_warps=tile.warps,
            )
    dtypes = [grad.dtype] * need_bias + [gamma.dtype] * (2 * need_norm)
    totals = column_sums(sums, dtypes)
    bias_grad = totals[0] if need_bias else grad.new_empty(0)
    if not need_norm:
        return dz, bias_grad, gamma.new_empty(0), gamma.new_empty(0)
    return dz, bias_grad, totals[-2], totals[-1]
