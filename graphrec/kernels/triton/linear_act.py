"""Triton: activation(x W^T + b) in one pass, and the gradient before the Linear."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.triton.activations import activate, slope
from graphrec.kernels.triton.gemm import (
    MOST_PROGRAMS,
    aligned_layer,
    aligned_rows,
    column_sums,
    partial_sums,
    place,
    product,
)
from graphrec.kernels.triton.launch import ALIGN, accumulator, interpreted, precision
from graphrec.kernels.triton.tiles import SMALL, Tile, forward_tile, slope_tile

__all__ = ["backward", "forward"]


@triton.jit(do_not_specialize=["rows"])
def forward_kernel(
    x,
    weight,
    bias,
    y,
    z,
    rows,
    columns,
    depth,
    x_stride,
    weight_stride,
    ACT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    KEEP: tl.constexpr,
    ACC: tl.constexpr,
    PRECISION: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """y = ACT(x W^T + b), and z = x W^T + b if KEEP."""
    m, n = place(rows, columns, BM, BN)
    # fmt: off
    acc = product(x, weight, bias, m, n, rows, columns, depth, x_stride, weight_stride,
                  HAS_BIAS, ACC, PRECISION, BM, BN, BK)
    # fmt: on
    at = m[:, None] * columns + n[None, :]
    inside = (m < rows)[:, None] & (n < columns)[None, :]
    if KEEP:
        tl.store(z + at, acc.to(z.dtype.element_ty), mask=inside)
    tl.store(y + at, activate(acc, ACT).to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def slope_kernel(
    grad,
    kept,
    dz,
    sums,
    rows,
    columns,
    dz_stride,
    ACT: tl.constexpr,
    NEED_BIAS: tl.constexpr,
    ACC: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """dz = grad * ACT', and the column sums of this program's rows of dz."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    in_n = n < columns
    total = tl.zeros((BM, BN), ACC)  # summed over its rows once, after the loop
    for start in range(program * BM, rows, programs * BM):
        m = start + tl.arange(0, BM).to(tl.int64)
        inside = (m < rows)[:, None] & in_n[None, :]
        at = m[:, None] * columns + n[None, :]
        d = tl.load(grad + at, mask=inside, other=0.0).to(ACC)
        if ACT != "none":
            d *= slope(tl.load(kept + at, mask=inside, other=0.0).to(ACC), ACT)
        if NEED_BIAS:
            total += d
        tl.store(dz + m[:, None] * dz_stride + n[None, :], d.to(dz.dtype.element_ty), mask=inside)
    if NEED_BIAS:
        tl.store(sums + program * columns + n, tl.sum(total, 0), mask=in_n)


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, act: str, keep: bool, tile: Tile | None = None
) -> tuple[Tensor, Tensor]:
    """(act(x W^T + b), x W^T + b or the first again) for x [M, K], weight [N, K], bias [N]."""
    rows, width = x.shape[0], weight.shape[0]
    x, (weight, bias) = aligned_rows(x), aligned_layer(weight, bias)
    columns = weight.shape[0]
    y = x.new_empty(rows, columns)
    z = torch.empty_like(y) if keep else y
    if tile is None:
        tile = SMALL if interpreted() else forward_tile(rows, columns, x.element_size())
    if rows:
        with torch.cuda.device_of(x):
            forward_kernel[(triton.cdiv(rows, tile.rows) * triton.cdiv(columns, tile.columns),)](
                x,
                weight,
                y if bias is None else bias,
                y,
                z,
                rows,
                columns,
                x.shape[1],
                x.stride(0),
                weight.stride(0),
                ACT=act,
                HAS_BIAS=bias is not None,
                KEEP=keep,
                ACC=accumulator(x),
                PRECISION=precision(),
                BM=tile.rows,
                BN=tile.columns,
                BK=tile.depth,
                num_warps=tile.warps,
                num_stages=tile.stages,
            )
    result = y[:, :width].contiguous()
    return result, z[:, :width].contiguous() if keep else result


def backward(
    grad: Tensor, kept: Tensor, act: str, need_bias: bool, tile: Tile | None = None
) -> tuple[Tensor, Tensor]:
    """(dz [M, N], its column sums [N] or empty); the rows of dz are aligned for the GEMMs."""
    rows, columns = grad.shape
    padded = triton.cdiv(columns, ALIGN) * ALIGN
    dz = grad.new_empty(rows, padded)[:, :columns]
    if tile is None:
        tile = SMALL if interpreted() else slope_tile(grad.element_size())
    programs = min(triton.cdiv(rows, tile.rows), MOST_PROGRAMS)
    sums = partial_sums(int(need_bias), programs, grad)
    if rows:
        with torch.cuda.device_of(grad):
            slope_kernel[(programs, triton.cdiv(columns, tile.columns))](
                grad.contiguous(),
                dz if act == "none" else kept.contiguous(),
                dz,
                sums,
                rows,
                columns,
                padded,
                ACT=act,
                NEED_BIAS=need_bias,
                ACC=accumulator(grad),
                BM=tile.rows,
                BN=tile.columns,
                num_warps=tile.warps,
                num_stages=tile.stages,
            )
    return dz, column_sums(sums, [grad.dtype])[0] if need_bias else grad.new_empty(0)
