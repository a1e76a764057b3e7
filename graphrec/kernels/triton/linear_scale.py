"""Triton: scale * factor * activation(x W^T + b) + skip in one pass, and its gradient."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.ops.reference import FROM_INPUT, scaled
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
from graphrec.kernels.triton.tiles import SMALL, Tile, scale_tile, slope_tile

__all__ = ["backward", "forward"]


@triton.jit(do_not_specialize=["rows"])
def scale_forward_kernel(
    x,
    weight,
    bias,
    factor,
    skip,
    y,
    kept,
    rows,
    columns,
    depth,
    x_stride,
    weight_stride,
    factor_stride,
    skip_stride,
    UNIT: tl.constexpr,
    ACT: tl.constexpr,
    SCALE: tl.constexpr,
    KEEP_INPUT: tl.constexpr,
    KEEP_OUTPUT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_SKIP: tl.constexpr,
    ACC: tl.constexpr,
    PRECISION: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """y = SCALE * factor * ACT(x W^T + b) + skip; kept is what ACT gets or gives, or not stored."""
    columns *= UNIT
    m, n = place(rows, columns, BM, BN)
    in_m, in_n = m < rows, n < columns
    x_rows, weight_rows = x + m * (x_stride * UNIT), weight + n * (weight_stride * UNIT)
    acc = product(x_rows, weight_rows, in_m, in_n, depth * UNIT, ACC, PRECISION, BK)
    if HAS_BIAS:
        acc += across(bias, n, in_n, ACC)
    at = m[:, None] * columns + n[None, :]
    inside = in_m[:, None] & in_n[None, :]
    if KEEP_INPUT:
        tl.store(kept + at, acc.to(kept.dtype.element_ty), mask=inside)
    acc = activate(acc, ACT)
    if KEEP_OUTPUT:
        tl.store(kept + at, acc.to(kept.dtype.element_ty), mask=inside)
    if SCALE != 1.0:
        # Through `full`, for a bare number would be rounded to fp32, in fp64 kernels too.
        acc *= tl.full((1, 1), SCALE, ACC)
    factor += m[:, None] * (factor_stride * UNIT) + n[None, :]
    acc *= tl.load(factor, mask=inside, other=0.0).to(ACC)
    if HAS_SKIP:
        skip += m[:, None] * (skip_stride * UNIT) + n[None, :]
        acc += tl.load(skip, mask=inside, other=0.0).to(ACC)
    tl.store(y + at, acc.to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def scale_slope_kernel(
    grad,
    factor,
    kept,
    dz,
    dfactor,
    sums,
    rows,
    columns,
    factor_stride,
    dz_stride,
    UNIT: tl.constexpr,
    ACT: tl.constexpr,
    SCALE: tl.constexpr,
    KEPT_INPUT: tl.constexpr,
    NEED_BIAS: tl.constexpr,
    NEED_FACTOR: tl.constexpr,
    ACC: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """dz = SCALE * grad * factor * ACT', dfactor = SCALE * grad * ACT, column sums of dz."""
    columns *= UNIT
    factor_stride *= UNIT
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
        if SCALE != 1.0:
            d *= tl.full((1, 1), SCALE, ACC)
        f = tl.load(factor + m[:, None] * factor_stride + n[None, :], mask=inside, other=0.0)
        f = f.to(ACC)
        if ACT != "none" or NEED_FACTOR:
            k = tl.load(kept + at, mask=inside, other=0.0).to(ACC)
        if NEED_FACTOR:
            a = activate(k, ACT) if KEPT_INPUT else k
            tl.store(dfactor + at, (d * a).to(dfactor.dtype.element_ty), mask=inside)
        d *= f
        if ACT != "none":
            d = activation_backward(d, k, ACT)
        if NEED_BIAS:
            total += d
        tl.store(dz + m[:, None] * dz_stride + n[None, :], d.to(dz.dtype.element_ty), mask=inside)
    if NEED_BIAS:
        tl.store(sums + program * columns + n, tl.sum(total, 0), mask=in_n)


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    factor: Tensor,
    skip: Tensor | None,
    act: str,
    scale: float,
    keep: bool,
    dtype: torch.dtype,
    tile: Tile | None = None,
) -> tuple[Tensor, Tensor]:
    """(scale * factor * act(z) + skip in `dtype`, z or act(z) or the first), z = x W^T + b."""
    if tile is None and vendor_gemm(x):
        return scaled(F.linear(x, weight, bias), factor, skip, act, scale)
    rows, width, has_skip = x.shape[0], weight.shape[0], skip is not None
    each = max(unit(t) for t in (x, factor, skip) if t is not None)  # of the narrowest type
    x, (weight, bias) = aligned_rows(x, each), aligned_layer(weight, bias, each)
    factor = aligned_rows(factor, each)
    skip = factor if skip is None else aligned_rows(skip, each)
    columns = weight.shape[0]
    y = x.new_empty(rows, columns, dtype=dtype)
    kept = x.new_empty(rows, columns) if keep else y
    tile = tile or (SMALL if interpreted() else scale_tile(rows, columns, x.element_size()))
    grid = (triton.cdiv(rows, tile.rows) * triton.cdiv(columns, tile.columns),)
    if rows:
        with torch.cuda.device_of(x):
            scale_forward_kernel[grid](
                x,
                weight,
                y if bias is None else bias,
                factor,
                skip,
                y,
                kept,
                rows,
                columns // each,
                x.shape[1] // each,
                *(t.stride(0) // each for t in (x, weight, factor, skip)),
                UNIT=each,
                ACT=act,
                SCALE=scale,
                KEEP_INPUT=keep and act in FROM_INPUT,
                KEEP_OUTPUT=keep and act not in FROM_INPUT,
                HAS_BIAS=bias is not None,
                HAS_SKIP=has_skip,
                **gemm_settings(x, tile),
            )
    result = y[:, :width].contiguous()
    return result, kept[:, :width].contiguous() if keep else result


def backward(
    grad: Tensor,
    factor: Tensor,
    kept: Tensor,
    act: str,
    scale: float,
    need_bias: bool,
    need_factor: bool,
    tile: Tile | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """dz [M, N] with rows aligned for the GEMMs, and the gradients of factor [M, N] and bias [N].

    One that is not needed is empty.
    """
    rows, columns = grad.shape
    dz = aligned_empty(kept)
    dfactor = factor.new_empty((rows, columns) if need_factor else (0,))
    factor = factor if factor.stride(1) == 1 else factor.contiguous()
    each = max(unit(t, columns, factor.stride(0)) for t in (grad, factor, kept))
    if tile is None:
        tile = SMALL if interpreted() else slope_tile(grad.element_size())
    programs = min(triton.cdiv(rows, tile.rows), MOST_PROGRAMS)
    sums = partial_sums(int(need_bias), programs, grad)
    if rows:
        with torch.cuda.device_of(grad):
            scale_slope_kernel[(programs, triton.cdiv(columns, tile.columns))](
                grad.contiguous(),
                factor,
                kept.contiguous(),
                dz,
                dfactor,
                sums,
                rows,
                columns // each,
                factor.stride(0) // each,
                dz.stride(0) // each,
                UNIT=each,
                ACT=act,
                SCALE=scale,
                KEPT_INPUT=act in FROM_INPUT,
                NEED_BIAS=need_bias,
                NEED_FACTOR=need_factor,
                ACC=accumulator(grad),
                BM=tile.rows,
                BN=tile.columns,
                num_warps=tile.warps,
            )
    bias_grad = column_sums(sums, [kept.dtype])[0] if need_bias else kept.new_empty(0)
    return dz, dfactor, bias_grad
