"""Triton: activation(x_e W_e^T + b_e) of all experts in one launch, and the gradient before it.

The weights come stacked, [E, N, K]: a copy of a few megabytes a step. An array of pointers would
spare it, but stacked weights are what makes the gradient of a shared input one product over all
experts, the gradients of the weights one batched product, and the padding of a width one call.
Rules as in gemm.py: accumulate wide, no atomics, the number of rows not specialised.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.ops.experts import linear
from graphrec.kernels.ops.reference import plain
from graphrec.kernels.triton.activations import activate, activation_backward
from graphrec.kernels.triton.expert_tiles import layer_tile
from graphrec.kernels.triton.gemm import MOST_PROGRAMS, across, column_sums, product
from graphrec.kernels.triton.launchers import (
    accumulator,
    gemm_settings,
    interpreted,
    unit,
    vendor_gemm,
    wide,
)
from graphrec.kernels.triton.tiles import SMALL, Tile, slope_tile

__all__ = ["backward", "forward"]


@triton.jit(do_not_specialize=["rows"])
def experts_kernel(
    x,
    weight,
    bias,
    y,
    z,
    rows,
    columns,
    depth,
    experts,
    slots,
    per,
    x_stride,
    slot_stride,
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
    """y = ACT(x_e W_e^T + b_e), and z = x_e W_e^T + b_e if KEEP; rows are [experts, columns]."""
    columns *= UNIT
    depth *= UNIT
    # One row of programs, not one per expert: neighbours read the same rows of x, whether all
    # experts share them or lie side by side in them; the weights are small and stay in the cache.
    tiles = tl.cdiv(columns, BN)
    program = tl.program_id(0)
    expert = program // tiles % experts
    m = (program // (tiles * experts)).to(tl.int64) * BM + tl.arange(0, BM)
    n = (program % tiles) * BN + tl.arange(0, BN)
    # Several experts may read one slot: `per` each, and the last slot the rest.
    slot = tl.minimum(expert // per, slots - 1).to(tl.int64)
    in_m, in_n = m < rows, n < columns
    x_rows = x + slot * (slot_stride * UNIT) + m * (x_stride * UNIT)
    weight_rows = weight + expert.to(tl.int64) * columns * depth + n * depth
    acc = product(x_rows, weight_rows, in_m, in_n, depth, ACC, PRECISION, BK)
    if HAS_BIAS:
        acc += across(bias + expert * columns, n, in_n, ACC)
    at = (m[:, None] * experts + expert) * columns + n[None, :]
    inside = in_m[:, None] & in_n[None, :]
    if KEEP:
        tl.store(z + at, acc.to(z.dtype.element_ty), mask=inside)
    tl.store(y + at, activate(acc, ACT).to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def experts_slope_kernel(
    grad,
    kept,
    dz,
    sums,
    rows,
    columns,
    padded,
    experts,
    UNIT: tl.constexpr,
    ACT: tl.constexpr,
    NEED_BIAS: tl.constexpr,
    ACC: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """dz = grad * ACT' with zeros behind the columns, and column sums of this program's rows."""
    columns *= UNIT
    padded *= UNIT
    program, programs = tl.program_id(0), tl.num_programs(0)
    expert = tl.program_id(2)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    total = tl.zeros((BN,), ACC)
    for start in tl.range(program * BM, rows, programs * BM, num_stages=3):
        m = start + tl.arange(0, BM).to(tl.int64)
        row = m[:, None] * experts + expert
        inside = (m < rows)[:, None] & (n < columns)[None, :]
        at = row * columns + n[None, :]
        d = tl.load(grad + at, mask=inside, other=0.0).to(ACC)
        if ACT != "none":
            d = activation_backward(d, tl.load(kept + at, mask=inside, other=0.0).to(ACC), ACT)
        if NEED_BIAS:
            total += tl.sum(d, 0)
        fits = (m < rows)[:, None] & (n < padded)[None, :]
        tl.store(dz + row * padded + n[None, :], d.to(dz.dtype.element_ty), mask=fits)
    if NEED_BIAS:
        tl.store(sums + (program * experts + expert) * columns + n, total, mask=n < columns)


def _aligned_experts(
    weight: Tensor, bias: Tensor | None, each: int
) -> tuple[Tensor, Tensor | None]:
    """Both with zeros behind, so that every row is a multiple of `each`."""
    more, deeper = -weight.shape[1] % each, -weight.shape[2] % each
    if more or deeper:
        weight = F.pad(weight, (0, deeper, 0, more))
    if bias is not None:
        bias = F.pad(bias, (0, more)) if more else bias.contiguous()
    return weight.contiguous(), bias


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    per: int,
    act: str,
    keep: bool,
    tile: Tile | None = None,
) -> tuple[Tensor, Tensor]:
    """(act(z), z or the first again), [M, E, N]; x [M, S, K], weight [E, N, K], bias [E, N]."""
    if tile is None and vendor_gemm(x):
        return plain(linear(x, weight, bias, per), act, keep)
    rows, slots = x.shape[:2]
    experts, width = weight.shape[:2]
    each = unit(x)
    x, (weight, bias) = _aligned(x, each), _aligned_experts(weight, bias, each)
    columns = weight.shape[1]
    y = x.new_empty(rows, experts, columns)
    if slots == 1:  # then all experts are one wide matrix, whose tiles are full
        experts, columns = 1, experts * columns
    z = torch.empty_like(y) if keep else y
    if tile is None:
        tile = layer_tile(rows, columns, x.element_size(), experts)
    grid = (triton.cdiv(rows, tile.rows) * experts * triton.cdiv(columns, tile.columns),)
    if rows:
        with torch.cuda.device_of(x):
            experts_kernel[grid](
                x,
                weight,
                y if bias is None else bias,
                y,
                z,
                rows,
                columns // each,
                weight.shape[2] // each,
                experts,
                slots,
                per,
                x.stride(0) // each,
                x.stride(1) // each,
                UNIT=each,
                ACT=act,
                HAS_BIAS=bias is not None,
                KEEP=keep,
                **gemm_settings(x, tile),
            )
    result = y[..., :width].contiguous()
    return result, z[..., :width].contiguous() if keep else result


def backward(
    grad: Tensor, kept: Tensor, act: str, need_bias: bool, tile: Tile | None = None
) -> tuple[Tensor, Tensor]:
    """(dz [M, E, N'] with zeros behind its columns, up to whole vectors, and column sums [E, N]).

    The sums are empty unless `need_bias`.
    """
    rows, experts, columns = grad.shape
    padded = columns + -columns % unit(grad)
    dz = grad.new_empty(rows, experts, padded)
    if padded == columns:  # then the experts are one wide matrix, whose tiles are full
        experts, columns, padded = 1, experts * columns, experts * columns
    each = unit(grad, columns)
    if tile is None:
        tile = SMALL if interpreted() else slope_tile(grad.element_size())
    programs = min(triton.cdiv(rows, tile.rows), MOST_PROGRAMS)
    sums = grad.new_empty(int(need_bias), programs, experts * columns, dtype=wide(grad))
    if rows:
        with torch.cuda.device_of(grad):
            experts_slope_kernel[(programs, triton.cdiv(padded, tile.columns), experts)](
                grad.contiguous(),
                dz if act == "none" else kept.contiguous(),
                dz,
                sums,
                rows,
                columns // each,
                padded // each,
                experts,
                UNIT=each,
                ACT=act,
                NEED_BIAS=need_bias,
                ACC=accumulator(grad),
                BM=tile.rows,
                BN=tile.columns,
                num_warps=tile.warps,
            )
    if not need_bias:
        return dz, grad.new_empty(0)
    return dz, column_sums(sums, [grad.dtype])[0].view(grad.shape[1:])


def _aligned(x: Tensor, multiple: int) -> Tensor:
    """x [M, S, K] itself if its rows and slots begin and end at whole vectors, else a copy."""
    if x.shape[2] % multiple:
        return F.pad(x, (0, -x.shape[2] % multiple))
    strides = x.stride(0), x.stride(1) if x.shape[1] > 1 else 0
    begins = x.data_ptr() % 16 == 0 and all(stride % multiple == 0 for stride in strides)
    whole = x.stride(2) == 1 and begins
    return x if whole else x.clone(memory_format=torch.contiguous_format)
