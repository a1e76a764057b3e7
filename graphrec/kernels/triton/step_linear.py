"""Triton: the first layer of target attention over all steps, when more layers follow.

act(part of the row + s A^T + (q * s) P^T) as one GEMM over the steps: both products in one loop,
the query read where its row is needed, q * s on chip.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.triton.activations import activate
from graphrec.kernels.triton.attention_tiles import SegmentTile, filled, segment_tile
from graphrec.kernels.triton.launchers import gemm_settings, unit

__all__ = ["forward"]


@triton.jit(do_not_specialize=["steps"])
def step_linear_kernel(
    query,
    part,
    keys,
    rows,
    of_keys,
    of_product,
    y,
    z,
    steps,
    columns,
    depth,
    UNIT: tl.constexpr,
    ACT: tl.constexpr,
    KEEP: tl.constexpr,
    ACC: tl.constexpr,
    PRECISION: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """y = ACT(z), z = part[row] + s A^T + (q[row] * s) P^T; z is stored if KEEP."""
    columns *= UNIT
    depth *= UNIT
    # Neighbouring programs share their steps: the weights are small and stay in the cache.
    tiles = tl.cdiv(columns, BN)
    program = tl.program_id(0)
    m = (program // tiles).to(tl.int64) * BM + tl.arange(0, BM)
    n = (program % tiles) * BN + tl.arange(0, BN)
    in_m, in_n = m < steps, n < columns
    row = tl.load(rows + m, mask=in_m, other=0)
    acc = tl.zeros((BM, BN), ACC)
    for start in range(0, depth, BK):
        d = start + tl.arange(0, BK)
        in_d = d < depth
        s_mask, w_mask = in_m[:, None] & in_d[None, :], in_n[None, :] & in_d[:, None]
        s = tl.load(keys + m[:, None] * depth + d[None, :], mask=s_mask, other=0.0)
        q = tl.load(query + row[:, None] * depth + d[None, :], mask=s_mask, other=0.0)
        at_w = n[None, :] * depth + d[:, None]
        a = tl.load(of_keys + at_w, mask=w_mask, other=0.0)
        b = tl.load(of_product + at_w, mask=w_mask, other=0.0)
        acc = tl.dot(s, a, acc, input_precision=PRECISION, out_dtype=ACC)
        product = (q.to(ACC) * s.to(ACC)).to(s.dtype)
        acc = tl.dot(product, b, acc, input_precision=PRECISION, out_dtype=ACC)
    inside = in_m[:, None] & in_n[None, :]
    acc += tl.load(part + row[:, None] * columns + n[None, :], mask=inside, other=0.0).to(ACC)
    at = m[:, None] * columns + n[None, :]
    if KEEP:
        tl.store(z + at, acc.to(z.dtype.element_ty), mask=inside)
    tl.store(y + at, activate(acc, ACT).to(y.dtype.element_ty), mask=inside)


def forward(
    query: Tensor,
    part: Tensor,
    keys: Tensor,
    rows: Tensor,
    of_keys: Tensor,
    of_product: Tensor,
    act: str,
    keep: bool,
    tile: SegmentTile | None = None,
) -> tuple[Tensor, Tensor]:
    """(the layer's output [T, H], before its activation or the first again).

    query [B, D], part [B, H], keys [T, D], rows [T], of_keys and of_product [H, D].
    """
    steps, width, whole = keys.shape[0], part.shape[1], unit(keys)
    depth, columns = (triton.cdiv(x.shape[1], whole) * whole for x in (keys, part))
    query, part, keys = filled(query, depth), filled(part, columns), filled(keys, depth)
    of_keys, of_product = (filled(x, depth, columns) for x in (of_keys, of_product))
    y = keys.new_empty(steps, columns)
    z = torch.empty_like(y) if keep else y
    tile = tile or segment_tile("step", keys)
    if steps:
        with torch.cuda.device_of(keys):
            step_linear_kernel[
                (triton.cdiv(steps, tile.steps) * triton.cdiv(columns, tile.columns),)
            ](
                query,
                part,
                keys,
                rows,
                of_keys,
                of_product,
                y,
                z,
                steps,
                columns // whole,
                depth // whole,
                UNIT=whole,
                ACT=act,
                KEEP=keep,
                **gemm_settings(keys, tile),
            )
    result = y[:, :width].contiguous()
    return result, z[:, :width].contiguous() if keep else result
