"""Triton: activation(x W^T + b) in one pass, and the gradient before the Linear.

Kernel rules: load, then cast to the accumulator at once (bf16 is only ever a dot operand or a
store); no atomics, so equal runs give equal bits; the number of rows is not specialised, so the
last batch of an epoch compiles nothing new.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import os

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.triton.activations import activate, slope
from graphrec.kernels.triton.tiles import SMALL, Tile, forward_tile, slope_tile

__all__ = ["backward", "forward"]

_ALIGN = 16
"""Elements that a row must be a multiple of for vector loads and asynchronous copies."""
_MOST_PROGRAMS = 128
"""Rows of partial column sums; a constant, so that no result depends on the GPU's size."""


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
    # Neighbouring programs share their rows of x: the weights are small and stay in the cache.
    tiles = tl.cdiv(columns, BN)
    program = tl.program_id(0)
    m = (program // tiles).to(tl.int64) * BM + tl.arange(0, BM)
    n = (program % tiles) * BN + tl.arange(0, BN)
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
    total = tl.zeros((BN,), ACC)
    for start in range(program * BM, rows, programs * BM):
        m = start + tl.arange(0, BM).to(tl.int64)
        inside = (m < rows)[:, None] & in_n[None, :]
        at = m[:, None] * columns + n[None, :]
        d = tl.load(grad + at, mask=inside, other=0.0).to(ACC)
        if ACT != "none":
            d *= slope(tl.load(kept + at, mask=inside, other=0.0).to(ACC), ACT)
        if NEED_BIAS:
            total += tl.sum(d, 0)
        tl.store(dz + m[:, None] * dz_stride + n[None, :], d.to(dz.dtype.element_ty), mask=inside)
    if NEED_BIAS:
        tl.store(sums + program * columns + n, total, mask=in_n)


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, act: str, keep: bool, tile: Tile | None = None
) -> tuple[Tensor, Tensor]:
    """(act(x W^T + b), x W^T + b or the first again) for x [M, K], weight [N, K], bias [N]."""
    rows, width = x.shape[0], weight.shape[0]
    # Every width becomes a multiple of 16: unaligned stores made the compiler spill registers.
    extra = -width % _ALIGN
    if extra:
        weight = F.pad(weight, (0, 0, 0, extra))
        bias = None if bias is None else F.pad(bias, (0, extra))
    x, weight = _aligned(x), _aligned(weight)
    columns = width + extra
    y = x.new_empty(rows, columns)
    z = torch.empty_like(y) if keep else y
    if tile is None:
        tile = SMALL if _interpreted() else forward_tile(rows, columns, x.element_size())
    grid = (triton.cdiv(rows, tile.rows) * triton.cdiv(columns, tile.columns),)
    if rows:
        with torch.cuda.device_of(x):
            forward_kernel[grid](
                x,
                weight,
                y if bias is None else bias.contiguous(),
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
                ACC=_accumulator(x),
                PRECISION=_precision(),
                BM=tile.rows,
                BN=tile.columns,
                BK=tile.depth,
                num_warps=tile.warps,
                num_stages=tile.stages,
            )
    return y[:, :width].contiguous(), z[:, :width].contiguous()


def backward(
    grad: Tensor, kept: Tensor, act: str, need_bias: bool, tile: Tile | None = None
) -> tuple[Tensor, Tensor]:
    """(dz [M, N], its column sums [N] or empty); the rows of dz are aligned for the GEMMs."""
    rows, columns = grad.shape
    padded = triton.cdiv(columns, _ALIGN) * _ALIGN
    dz = grad.new_empty(rows, padded)[:, :columns]
    if tile is None:
        tile = SMALL if _interpreted() else slope_tile(grad.element_size())
    programs = min(triton.cdiv(rows, tile.rows), _MOST_PROGRAMS)
    wide = torch.float64 if grad.dtype == torch.float64 else torch.float32
    sums = grad.new_empty(programs if need_bias else 0, columns, dtype=wide)
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
                ACC=_accumulator(grad),
                BM=tile.rows,
                BN=tile.columns,
                num_warps=tile.warps,
                num_stages=tile.stages,
            )
    return dz, sums.sum(0).to(grad.dtype) if need_bias else grad.new_empty(0)


def _aligned(matrix: Tensor) -> Tensor:
    """The matrix, or a copy with zero columns behind it: rows are multiples of 16 elements."""
    width = matrix.shape[1]
    if width % _ALIGN:
        return F.pad(matrix, (0, -width % _ALIGN))
    whole = matrix.stride(1) == 1 and matrix.stride(0) % _ALIGN == 0
    return matrix if whole else matrix.contiguous()


def _accumulator(x: Tensor) -> tl.dtype:
    return tl.float64 if x.dtype == torch.float64 else tl.float32


def _precision() -> str:
    # fp32 products follow torch's own switch; Triton's default would be tf32 always.
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"
