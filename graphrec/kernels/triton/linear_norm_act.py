"""Triton: activation(LayerNorm(x W^T + b)), in one pass where a whole row fits the GEMM's tile.

Wider rows take the vendor's GEMM and one kernel that reads each row once.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.triton.activations import activate
from graphrec.kernels.triton.gemm import (
    across,
    aligned_layer,
    aligned_row,
    aligned_rows,
    product,
)
from graphrec.kernels.triton.launchers import (
    gemm_settings,
    interpreted,
    unit,
    vendor_gemm,
)
from graphrec.kernels.triton.layer_norm import backward, norm_rows, normalised
from graphrec.kernels.triton.tiles import Tile, norm_tile, small_norm_tile

__all__ = ["backward", "forward"]


@triton.jit(do_not_specialize=["rows"])
def norm_forward_kernel(
    x,
    weight,
    bias,
    gamma,
    beta,
    y,
    z,
    rows,
    columns,
    y_stride,
    depth,
    x_stride,
    weight_stride,
    UNIT: tl.constexpr,
    ACT: tl.constexpr,
    EPS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    KEEP: tl.constexpr,
    ACC: tl.constexpr,
    PRECISION: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """y = ACT(LayerNorm(x W^T + b)), and z = x W^T + b if KEEP; BN holds all columns."""
    # Loads and stores reach to the aligned width y_stride, sums to the true one.
    y_stride *= UNIT
    m = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    n = tl.arange(0, BN)
    in_m, in_n = m < rows, n < y_stride
    x_rows, weight_rows = x + m * (x_stride * UNIT), weight + n * (weight_stride * UNIT)
    acc = product(x_rows, weight_rows, in_m, in_n, depth * UNIT, ACC, PRECISION, BK)
    if HAS_BIAS:
        acc += across(bias, n, in_n, ACC)
    at = m[:, None] * y_stride + n[None, :]
    inside = in_m[:, None] & in_n[None, :]
    if KEEP:
        tl.store(z + at, acc.to(z.dtype.element_ty), mask=inside)
    acc, _ = normalised(acc, n < columns, columns, EPS, ACC)
    acc = acc * across(gamma, n, in_n, ACC) + across(beta, n, in_n, ACC)
    tl.store(y + at, activate(acc, ACT).to(y.dtype.element_ty), mask=inside)


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    act: str,
    keep: bool,
    tile: Tile | None = None,
) -> tuple[Tensor, Tensor]:
    """(act(LayerNorm(z)), z = x W^T + b or the first again) for x [M, K], weight [N, K]."""
    rows, width = x.shape[0], weight.shape[0]
    if tile is None:
        tile = _tile(x, width)
    if tile is None:
        z = F.linear(x, weight, bias)
        return norm_rows(z, gamma, beta, eps, act), z
    each = unit(x)
    x, (weight, bias) = aligned_rows(x, each), aligned_layer(weight, bias, each)
    columns = weight.shape[0]
    y = x.new_empty(rows, columns)
    z = torch.empty_like(y) if keep else y
    if rows:
        with torch.cuda.device_of(x):
            norm_forward_kernel[(triton.cdiv(rows, tile.rows),)](
                x,
                weight,
                y if bias is None else bias,
                aligned_row(gamma, each),
                aligned_row(beta, each),
                y,
                z,
                rows,
                width,
                columns // each,
                x.shape[1] // each,
                x.stride(0) // each,
                weight.stride(0) // each,
                UNIT=each,
                ACT=act,
                EPS=eps,
                HAS_BIAS=bias is not None,
                KEEP=keep,
                **gemm_settings(x, tile),
            )
    result = y[:, :width].contiguous()
    return result, z[:, :width].contiguous() if keep else result


def _tile(x: Tensor, columns: int) -> Tile | None:
    if interpreted():
        return small_norm_tile(columns)
    if vendor_gemm(x):
        return None
    return norm_tile(x.shape[0], columns, x.element_size())
