"""Triton: the gradient of `step_linear` behind its activation, dz [T, H].

With U = dz P and V = dz A the keys get V + q U and the query the sum of s U over its steps: one
kernel. The weights get dz^T s and dz^T (q * s): another, which splits the steps among its programs
and so needs partial sums, but no [T, D] tensor of products.
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
)
from graphrec.kernels.triton.attention_tiles import (
    SegmentTile,
    filled,
    rows_of_program,
    segment_tile,
)
from graphrec.kernels.triton.launchers import accumulator, precision, unit, wide

__all__ = ["inputs", "weights"]

_MOST_PROGRAMS = 264
"""Programs for the weights, two for each of an H100's 132 processors; a constant, so that no result
depends on the GPU's size."""


# fmt: off
@triton.jit
def gradients_of_rows(
    dz, query, keys, of_keys, of_product, keys_grad, n, begin, end, high, hidden, depth, dz_stride,
    ACC: tl.constexpr, PRECISION: tl.constexpr, BT: tl.constexpr, BN: tl.constexpr,
    BK: tl.constexpr, CAREFUL: tl.constexpr,
):
    """Columns n of the query's gradient of 16 rows; those of their keys go to memory."""
    TYPE: tl.constexpr = keys.dtype.element_ty
    in_n = n < depth
    dq = tl.zeros((ROWS, BN), ACC)
    for start in range(0, high, BT):
        step = start + tl.arange(0, BT)
        here = step < high
        inside, local = place(step, begin, end)
        u, v = tl.zeros((BT, BN), ACC), tl.zeros((BT, BN), ACC)
        for from_h in range(0, hidden, BK):
            h = from_h + tl.arange(0, BK)
            in_h = h < hidden
            at_w, w_mask = h[:, None] * depth + n[None, :], in_h[:, None] & in_n[None, :]
            d_mask = here[:, None] & in_h[None, :]
            d = tl.load(dz + step[:, None] * dz_stride + h[None, :], mask=d_mask, other=0.0)
            b = tl.load(of_product + at_w, mask=w_mask, other=0.0)
            u = tl.dot(d, b, u, input_precision=PRECISION, out_dtype=ACC)
            if not CAREFUL:
                a = tl.load(of_keys + at_w, mask=w_mask, other=0.0)
                v = tl.dot(d, a, v, input_precision=PRECISION, out_dtype=ACC)
        mask = here[:, None] & in_n[None, :]
        at = step[:, None] * depth + n[None, :]
        s = tl.load(keys + at, mask=mask, other=0.0).to(ACC)
        dq = row_sums(inside, inside, s * u, dq, TYPE, ACC, PRECISION, CAREFUL)
        if not CAREFUL:  # else they are there
            q = tl.load(query + local[:, None] * depth + n[None, :], mask=mask, other=0.0)
            tl.store(keys_grad + at, (v + q.to(ACC) * u).to(TYPE), mask=mask)
    return dq


@triton.jit(do_not_specialize=["rows"])
def step_inputs_kernel(
    dz, query, keys, offsets, of_keys, of_product, query_grad, keys_grad,
    rows, hidden, depth, dz_stride,
    DEPTH_UNIT: tl.constexpr, DZ_UNIT: tl.constexpr, TAKES: tl.constexpr, ACC: tl.constexpr,
    PRECISION: tl.constexpr, BT: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):
    """Gradients of the keys and, summed within rows, of the query."""
    depth *= DEPTH_UNIT
    hidden *= DZ_UNIT
    dz_stride *= DZ_UNIT
    first, count, begin, end, low, high = program_rows(offsets, tl.program_id(0), rows, TAKES)
    dz += low * dz_stride
    keys += low * depth
    keys_grad += low * depth
    query += first * depth
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    dq = gradients_of_rows(dz, query, keys, of_keys, of_product, keys_grad, n, begin, end, high,
                           hidden, depth, dz_stride, ACC, PRECISION, BT, BN, BK, False)
    if any_nan(dq):
        dq = gradients_of_rows(dz, query, keys, of_keys, of_product, keys_grad, n, begin, end, high,
                               hidden, depth, dz_stride, ACC, PRECISION, FEW, BN, BK, True)
    row = tl.arange(0, ROWS)
    at = query_grad + first * depth + row[:, None] * depth + n[None, :]
    mask = (row < count)[:, None] & (n < depth)[None, :]
    tl.store(at, dq.to(query_grad.dtype.element_ty), mask=mask)
# fmt: on


@triton.jit(do_not_specialize=["steps"])
def step_weights_kernel(
    dz,
    query,
    keys,
    rows,
    keys_sums,
    product_sums,
    steps,
    hidden,
    depth,
    dz_stride,
    DEPTH_UNIT: tl.constexpr,
    DZ_UNIT: tl.constexpr,
    ACC: tl.constexpr,
    PRECISION: tl.constexpr,
    BT: tl.constexpr,
    BH: tl.constexpr,
    BN: tl.constexpr,
):
    """This program's share of dz^T s and dz^T (q * s)."""
    depth *= DEPTH_UNIT
    hidden *= DZ_UNIT
    dz_stride *= DZ_UNIT
    program, programs = tl.program_id(0), tl.num_programs(0)
    h = tl.program_id(1) * BH + tl.arange(0, BH)
    n = tl.program_id(2) * BN + tl.arange(0, BN)
    in_h, in_n = h < hidden, n < depth
    of_s, of_product = tl.zeros((BH, BN), ACC), tl.zeros((BH, BN), ACC)
    for start in range(program * BT, steps, programs * BT):
        t = start + tl.arange(0, BT).to(tl.int64)
        here = t < steps
        d_mask, s_mask = here[:, None] & in_h[None, :], here[:, None] & in_n[None, :]
        row = tl.load(rows + t, mask=here, other=0)
        d = tl.load(dz + t[:, None] * dz_stride + h[None, :], mask=d_mask, other=0.0)
        s = tl.load(keys + t[:, None] * depth + n[None, :], mask=s_mask, other=0.0)
        q = tl.load(query + row[:, None] * depth + n[None, :], mask=s_mask, other=0.0)
        d = tl.trans(d)
        of_s = tl.dot(d, s, of_s, input_precision=PRECISION, out_dtype=ACC)
        product = (q.to(ACC) * s.to(ACC)).to(s.dtype)
        of_product = tl.dot(d, product, of_product, input_precision=PRECISION, out_dtype=ACC)
    at = (program * hidden + h[:, None]) * depth + n[None, :]
    mask = in_h[:, None] & in_n[None, :]
    tl.store(keys_sums + at, of_s, mask=mask)
    tl.store(product_sums + at, of_product, mask=mask)


def inputs(
    dz: Tensor,
    query: Tensor,
    keys: Tensor,
    offsets: Tensor,
    of_keys: Tensor,
    of_product: Tensor,
    tile: SegmentTile | None = None,
) -> tuple[Tensor, Tensor]:
    """Gradients of query [B, D] and keys [T, D], for dz [T, H] of any row stride."""
    (rows, width), hidden = query.shape, dz.shape[1]
    of_depth, of_dz = unit(keys), unit(dz, hidden, dz.stride(0))
    depth = triton.cdiv(width, of_depth) * of_depth
    query, keys, of_keys, of_product = (
        filled(x, depth) for x in (query, keys, of_keys, of_product)
    )
    query_grad, keys_grad = torch.empty_like(query), torch.empty_like(keys)
    tile, takes = tile or segment_tile("step_inputs", keys), rows_of_program(rows)
    if rows:
        with torch.cuda.device_of(keys):
            step_inputs_kernel[(triton.cdiv(rows, takes), triton.cdiv(depth, tile.columns))](
                dz,
                query,
                keys,
                offsets,
                of_keys,
                of_product,
                query_grad,
                keys_grad,
                rows,
                hidden // of_dz,
                depth // of_depth,
                dz.stride(0) // of_dz,
                DEPTH_UNIT=of_depth,
                DZ_UNIT=of_dz,
                TAKES=takes,
                ACC=accumulator(keys),
                PRECISION=precision(),
                BT=tile.steps,
                BN=tile.columns,
                BK=tile.depth,
                num_warps=tile.warps,
                num_stages=tile.stages,
            )
    return query_grad[:, :width].contiguous(), keys_grad[:, :width].contiguous()


def weights(
    dz: Tensor,
    query: Tensor,
    keys: Tensor,
    rows: Tensor,
    tile: SegmentTile | None = None,
) -> tuple[Tensor, Tensor]:
    """dz^T s and dz^T (q * s), [H, D] each, for dz [T, H], query [B, D], keys [T, D], rows [T]."""
    (steps, width), hidden = keys.shape, dz.shape[1]
    of_depth, of_dz = unit(keys), unit(dz, hidden, dz.stride(0))
    depth = triton.cdiv(width, of_depth) * of_depth
    query, keys = filled(query, depth), filled(keys, depth)
    tile = tile or segment_tile("step_weights", keys)
    tiles = triton.cdiv(hidden, tile.depth), triton.cdiv(depth, tile.columns)
    programs = min(triton.cdiv(steps, tile.steps), max(1, _MOST_PROGRAMS // (tiles[0] * tiles[1])))
    sums = keys.new_empty(2, programs, hidden, depth, dtype=wide(keys))
    if steps:
        with torch.cuda.device_of(keys):
            step_weights_kernel[(programs, *tiles)](
                dz,
                query,
                keys,
                rows,
                sums[0],
                sums[1],
                steps,
                hidden // of_dz,
                depth // of_depth,
                dz.stride(0) // of_dz,
                DEPTH_UNIT=of_depth,
                DZ_UNIT=of_dz,
                ACC=accumulator(keys),
                PRECISION=precision(),
                BT=tile.steps,
                BH=tile.depth,
                BN=tile.columns,
                num_warps=tile.warps,
                num_stages=tile.stages,
            )
    # Two tensors, not two views of one: an operator must not return the same memory twice.
    of_s, of_product = (s.sum(0)[:, :width].to(keys.dtype).contiguous() for s in sums)
    return of_s, of_product
