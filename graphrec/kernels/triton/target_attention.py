"""Triton: target attention with a scorer of one hidden layer, all of it in one kernel.

With W = [Wq, Ws, Wd, Wp] the hidden layer of [q, s, q - s, q * s] is q (Wq + Wd) + s (Ws - Wd) +
(q * s) Wp. The first part comes in computed, once per row. The product q * s is formed on chip:
a matrix Ws - Wd + q Wp for each row would cost more than it saves, for a history of 25 steps is
shorter than such a matrix is high; and steps of several rows could not share a tile. No score
leaves the chip; the backward pass computes them again from the keys, which it reads anyway.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.triton.activations import activate
from graphrec.kernels.triton.attention_rows import (
    FEW,
    ROWS,
    any_nan,
    place,
    program_rows,
    softmax_step,
)
from graphrec.kernels.triton.attention_tiles import (
    SegmentTile,
    filled,
    rows_of_program,
    segment_tile,
)
from graphrec.kernels.triton.launchers import accumulator, precision, unit, wide

__all__ = ["forward", "hidden_layer", "padded", "scorer", "settings"]


# fmt: off
@triton.jit
def scorer(
    of_keys, of_product, out_weight, out_bias,
    D: tl.constexpr, H: tl.constexpr, BD: tl.constexpr, BH: tl.constexpr, ACC: tl.constexpr,
):
    """The weights as products need them: A^T and P^T [BD, BH], w [BH], b."""
    d, h = tl.arange(0, BD), tl.arange(0, BH)
    at, known = h[None, :] * D + d[:, None], (d < D)[:, None] & (h < H)[None, :]
    to_keys = tl.load(of_keys + at, mask=known, other=0.0)
    to_product = tl.load(of_product + at, mask=known, other=0.0)
    to_score = tl.load(out_weight + h, mask=h < H, other=0.0).to(ACC)
    return to_keys, to_product, to_score, tl.load(out_bias).to(ACC)


@triton.jit
def hidden_layer(
    query,
    part,
    k,
    row,
    here,
    to_keys,
    to_product,
    D: tl.constexpr,
    H: tl.constexpr,
    BD: tl.constexpr,
    BH: tl.constexpr,
    ACC: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """(q of each step, the hidden layer before its activation) for keys k [steps, BD]."""
    d, h = tl.arange(0, BD), tl.arange(0, BH)
    # Steps of one row read the same line of q and of its part: it comes from the first cache.
    q_mask, part_mask = here[:, None] & (d < D)[None, :], here[:, None] & (h < H)[None, :]
    q = tl.load(query + row[:, None] * D + d[None, :], mask=q_mask, other=0.0).to(ACC)
    z = tl.load(part + row[:, None] * H + h[None, :], mask=part_mask, other=0.0).to(ACC)
    product = (q * k.to(ACC)).to(k.dtype)
    z = tl.dot(k, to_keys, z, input_precision=PRECISION, out_dtype=ACC)
    z = tl.dot(product, to_product, z, input_precision=PRECISION, out_dtype=ACC)
    return q, z


@triton.jit
def attend(
    query, part, keys, to_keys, to_product, to_score, bias, begin, end, high,
    D: tl.constexpr, H: tl.constexpr, BD: tl.constexpr, BH: tl.constexpr, ACT: tl.constexpr,
    ACC: tl.constexpr, PRECISION: tl.constexpr, BT: tl.constexpr, CAREFUL: tl.constexpr,
):
    """(tops, sums of the exponentials, sums of the keys) of a program's rows, in one pass."""
    TYPE: tl.constexpr = keys.dtype.element_ty
    d = tl.arange(0, BD)
    # Low, but not -inf: the difference of two infinities is NaN.
    top, whole = tl.full((ROWS,), -1e38, ACC), tl.zeros((ROWS,), ACC)
    total = tl.zeros((ROWS, BD), ACC)
    for start in range(0, high, BT):
        step = start + tl.arange(0, BT)
        here = step < high
        inside, local = place(step, begin, end)
        at_k = step[:, None] * D + d[None, :]
        k = tl.load(keys + at_k, mask=here[:, None] & (d < D)[None, :], other=0.0)
        _, z = hidden_layer(
            query, part, k, local, here, to_keys, to_product, D, H, BD, BH, ACC, PRECISION
        )
        scores = tl.sum(activate(z, ACT) * to_score[None, :], 1) + bias
        top, whole, total = softmax_step(
            scores, k, inside, top, whole, total, TYPE, ACC, PRECISION, CAREFUL
        )
    return top, whole, total


@triton.jit(do_not_specialize=["rows"])
def attention_kernel(
    query, part, keys, offsets, of_keys, of_product, out_weight, out_bias, out, norm, rows,
    D: tl.constexpr, H: tl.constexpr, BD: tl.constexpr, BH: tl.constexpr, ACT: tl.constexpr,
    TAKES: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr, BT: tl.constexpr,
):
    """out = softmax of the scores times keys per row, norm = log of the sum of exponentials."""
    to_keys, to_product, to_score, bias = scorer(
        of_keys, of_product, out_weight, out_bias, D, H, BD, BH, ACC
    )
    first, count, begin, end, low, high = program_rows(offsets, tl.program_id(0), rows, TAKES)
    keys += low * D
    query += first * D
    part += first * H
    top, whole, total = attend(query, part, keys, to_keys, to_product, to_score, bias, begin, end,
                               high, D, H, BD, BH, ACT, ACC, PRECISION, BT, False)
    if any_nan(total):
        top, whole, total = attend(query, part, keys, to_keys, to_product, to_score, bias, begin,
                                   end, high, D, H, BD, BH, ACT, ACC, PRECISION, FEW, True)
    some = end > begin
    whole = tl.where(some, whole, 1.0)
    d, row = tl.arange(0, BD), tl.arange(0, ROWS)
    real = row < count
    y = (total / whole[:, None]).to(out.dtype.element_ty)
    at = out + first * D + row[:, None] * D + d[None, :]
    tl.store(at, y, mask=real[:, None] & (d < D)[None, :])
    tl.store(norm + first + row, tl.where(some, top + tl.log(whole), 0.0), mask=real)
# fmt: on


def forward(
    query: Tensor,
    part: Tensor,
    keys: Tensor,
    offsets: Tensor,
    of_keys: Tensor,
    of_product: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    act: str,
    tile: SegmentTile | None = None,
) -> tuple[Tensor, Tensor]:
    """(weighted sum of the keys [B, D], log of the sum of exponentials [B]), fp32 or fp64."""
    rows, width = query.shape
    inputs = padded(query, part, keys, offsets, of_keys, of_product, out_weight, out_bias)
    depth = inputs[0].shape[1]
    out = query.new_empty(rows, depth, dtype=wide(keys))
    norm = query.new_empty(rows, dtype=wide(keys))
    if rows:
        with torch.cuda.device_of(keys):
            takes = rows_of_program(rows)
            attention_kernel[(triton.cdiv(rows, takes),)](
                *inputs,
                out,
                norm,
                rows,
                ACT=act,
                TAKES=takes,
                **settings(inputs, tile or segment_tile("attention", keys)),
            )
    return out[:, :width].contiguous(), norm


def padded(*inputs: Tensor) -> tuple[Tensor, ...]:
    """The tensors with every width a multiple of 16 bytes: what is added is zero, and weighs
    nothing.
    """
    query, part, keys, offsets, of_keys, of_product, out_weight, out_bias = inputs
    whole = unit(keys)
    depth, hidden = (triton.cdiv(x.shape[1], whole) * whole for x in (query, part))
    return (
        filled(query, depth),
        filled(part, hidden),
        filled(keys, depth),
        offsets,
        filled(of_keys, depth, hidden),
        filled(of_product, depth, hidden),
        filled(out_weight.unsqueeze(0), hidden).squeeze(0),
        out_bias,
    )


def settings(inputs: tuple[Tensor, ...], tile: SegmentTile) -> dict[str, Any]:
    """Compile-time arguments of a kernel for these padded tensors."""
    depth, hidden = inputs[0].shape[1], inputs[1].shape[1]
    return {
        "D": depth,
        "H": hidden,
        # Products on tensor cores sum at least 16 terms.
        "BD": max(16, triton.next_power_of_2(depth)),
        "BH": max(16, triton.next_power_of_2(hidden)),
        "ACC": accumulator(inputs[0]),
        "PRECISION": precision(),
        "BT": tile.steps,
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }
