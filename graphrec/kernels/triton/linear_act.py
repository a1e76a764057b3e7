"""Triton: activation(x W^T + b) in one pass, and the gradient before the Linear.

An activation by itself reads and writes the whole result and computes next to nothing: as the
product's epilogue it moves nothing. In exact fp32 the vendor's GEMM is ahead by more than that
(`launch.vendor_gemm`), and computes.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.ops.reference import plain
from graphrec.kernels.triton.activations import activate, activation_backward
from graphrec.kernels.triton.gemm import (
    MOST_PROGRAMS,
    across,
    aligned_empty,
    aligned_layer,
    aligned_rows,
    column_sums,
    partial_sums,
    place,
    product,
)
from graphrec.kernels.triton.launchers import (
    accumulator,
    gemm_settings,
    interpreted,
    unit,
    vendor_gemm,
)
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
    UNIT: tl.constexpr,
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
    columns *= UNIT
    m, n = place(rows, columns, BM, BN)
    in_m, in_n = m < rows, n < columns
    x_rows, weight_rows = x + m * (x_stride * UNIT), weight + n * (weight_stride * UNIT)
    acc = product(x_rows, weight_rows, in_m, in_n, depth * UNIT, ACC, PRECISION, BK)
    if HAS_BIAS:
        acc += across(bias, n, in_n, ACC)
    at = m[:, None] * columns + n[None, :]
    inside = in_m[:, None] & in_n[None, :]
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
    UNIT: tl.constexpr,
    ACT: tl.constexpr,
    NEED_BIAS: tl.constexpr,
    ACC: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """dz = grad * ACT', and the column sums of this program's rows of dz."""
    columns *= UNIT
    dz_stride *= UNIT
    program, programs = tl.program_id(0), tl.num_programs(0)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    in_n = n < columns
    total = tl.zeros((BM, BN), ACC)  # summed over its rows once, after the loop
    for start in tl.range(program * BM, rows, programs * BM, num_stages=3):
        m = start + tl.arange(0, BM).to(tl.int64)
        inside = (m < rows)[:, None] & in_n[None, :]
        at = m[:, None] * columns + n[None, :]
        d = tl.load(grad + at, mask=inside, other=0.0).to(ACC)
        if ACT != "none":
            d = activation_backward(d, tl.load(kept + at, mask=inside, other=0.0).to(ACC), ACT)
        if NEED_BIAS:
            total += d
        tl.store(dz + m[:, None] * dz_stride + n[None, :], d.to(dz.dtype.element_ty), mask=inside)
    if NEED_BIAS:
        tl.store(sums + program * columns + n, tl.sum(total, 0), mask=in_n)


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, act: str, keep: bool, tile: Tile | None = None
) -> tuple[Tensor, Tensor]:
    """(act(x W^T + b), x W^T + b or the first again) for x [M, K], weight [N, K], bias [N]."""
    if tile is None and vendor_gemm(x):
        return plain(F.linear(x, weight, bias), act, keep)
    (rows, _), width = x.shape, weight.shape[0]
    each = unit(x)
    x, (weight, bias) = aligned_rows(x, each), aligned_layer(weight, bias, each)
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
                columns // each,
                x.shape[1] // each,
                x.stride(0) // each,
                weight.stride(0) // each,
                UNIT=each,
                ACT=act,
                HAS_BIAS=bias is not None,
                KEEP=keep,
                **gemm_settings(x, tile),
            )
    result = y[:, :width].contiguous()
    return result, z[:, :width].contiguous() if keep else result


def backward(
    grad: Tensor, kept: Tensor, act: str, need_bias: bool, tile: Tile | None = None
) -> tuple[Tensor, Tensor]:
    """(dz [M, N], its column sums [N] or empty); the rows of dz are aligned for the GEMMs."""
    rows, columns = grad.shape
    dz = aligned_empty(grad)
    if tile is None:
        tile = SMALL if interpreted() else slope_tile(grad.element_size())
    programs = min(triton.cdiv(rows, tile.rows), MOST_PROGRAMS)
    sums = partial_sums(int(need_bias), programs, grad)
    each = unit(grad, columns)
    if rows:
        with torch.cuda.device_of(grad):
            slope_kernel[(programs, triton.cdiv(columns, tile.columns))](
                grad.contiguous(),
                dz if act == "none" else kept.contiguous(),
                dz,
                sums,
                rows,
                columns // each,
                dz.stride(0) // each,
                UNIT=each,
                ACT=act,
                NEED_BIAS=need_bias,
                ACC=accumulator(grad),
                BM=tile.rows,
                BN=tile.columns,
                num_warps=tile.warps,
            )
    return dz, column_sums(sums, [grad.dtype])[0] if need_bias else grad.new_empty(0)
