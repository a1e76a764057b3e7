"""Triton: HSTU's pointwise attention among the steps of each row, without padding.

As in `jagged_attention` programs are cut from the steps of all rows, not from rows; a program meets
its steps with those from where the row of its first one begins. There is no softmax, so a tile
needs no running maximum, and what it adds is final. Where no context looks ahead, keys behind the
last of a program's queries are not read: half of the pairs.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.triton.attention_rows import FEW, any_nan, row_sums
from graphrec.kernels.triton.hstu_pairs import Scores, meets, placed, places, with_biases
from graphrec.kernels.triton.hstu_tiles import hstu_tile
from graphrec.kernels.triton.jagged_attention import of_heads, padded_heads, span
from graphrec.kernels.triton.jagged_attention_tiles import PairTile
from graphrec.kernels.triton.launchers import accumulator, precision, unit

__all__ = ["Scores", "forward", "places", "settings", "told"]


# fmt: off
@triton.jit
def attend(
    q, k, v, places, times, by_distance, by_bucket, limits, own, here, low, high, steps,
    stride, v_stride,
    D: tl.constexpr, BD: tl.constexpr, E: tl.constexpr, BE: tl.constexpr, ALPHA: tl.constexpr,
    INVERSE: tl.constexpr, WINDOW: tl.constexpr, CONTEXT: tl.constexpr, POSITIONS: tl.constexpr,
    BUCKETS: tl.constexpr, CAREFUL: tl.constexpr, TYPE: tl.constexpr, ACC: tl.constexpr,
    PRECISION: tl.constexpr, OWN: tl.constexpr, OTHERS: tl.constexpr,
):
    # fmt: on
    """Sums of v, weighted, of queries q [OWN, BD] over keys from `low` to `high`, [OWN, BE]."""
    d, e, other = tl.arange(0, BD), tl.arange(0, BE), tl.arange(0, OTHERS)
    total = tl.zeros((OWN, BE), ACC)
    at = other[:, None] * stride + d[None, :]
    v_at = other[:, None] * v_stride + e[None, :]
    k += low.to(tl.int64) * stride
    v += low.to(tl.int64) * v_stride
    begin, ids, stand, marks = placed(places, steps, own, here, -1)
    time = tl.load(times + own, mask=here & (BUCKETS > 0), other=0)
    for start in range(low, high, OTHERS):
        key = start + other
        there = key < high
        k_tile = tl.load(k + at, mask=there[:, None] & (d < D)[None, :], other=0.0)
        s = tl.dot(q, tl.trans(k_tile), input_precision=PRECISION, out_dtype=ACC) * ALPHA
        key_begin, key_ids, key_stand, key_marks = placed(places, steps, key, there, -2)
        met = meets(own[:, None], begin[:, None], ids[:, None], marks[:, None],
                    key[None, :], key_begin[None, :], key_ids[None, :], key_marks[None, :],
                    WINDOW, CONTEXT)
        if (POSITIONS > 0) | (BUCKETS > 0):
            key_time = tl.load(times + key, mask=there & (BUCKETS > 0), other=0)
            s, _, _ = with_biases(s, stand[:, None], key_stand[None, :], time[:, None],
                                  key_time[None, :], by_distance, by_bucket, limits,
                                  POSITIONS, BUCKETS)
        weights = tl.where(met, s * tl.sigmoid(s) * INVERSE, 0.0)
        v_tile = tl.load(v + v_at, mask=there[:, None] & (e < E)[None, :], other=0.0)
        total = row_sums(weights, met, v_tile, total, TYPE, ACC, PRECISION, CAREFUL)
        k += OTHERS * stride
        v += OTHERS * v_stride
    return total


# fmt: off
@triton.jit(do_not_specialize=["steps"])
def hstu_attention_kernel(
    q, k, v, places, times, by_distance, by_bucket, limits, out, steps, heads, stride, v_stride,
    UNIT: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, E: tl.constexpr, BE: tl.constexpr,
    ALPHA: tl.constexpr, INVERSE: tl.constexpr, WINDOW: tl.constexpr, CONTEXT: tl.constexpr,
    POSITIONS: tl.constexpr, BUCKETS: tl.constexpr,
    ACC: tl.constexpr, PRECISION: tl.constexpr, OWN: tl.constexpr, OTHERS: tl.constexpr,
):
    # fmt: on
    """out = silu(q k^T ALPHA + biases) v INVERSE, of the pairs that meet."""
    TYPE: tl.constexpr = q.dtype.element_ty
    stride *= UNIT
    v_stride *= UNIT
    head, own, here, _, _, low, high = span(places, steps, heads, OWN)
    if not CONTEXT:
        high = tl.minimum(high, tl.program_id(0) // heads * OWN + OWN)
    d, e = tl.arange(0, BD), tl.arange(0, BE)
    known = here[:, None] & (d < D)[None, :]
    at = own.to(tl.int64)[:, None] * stride + head * D + d[None, :]
    q_tile = tl.load(q + at, mask=known, other=0.0)
    k += head * D
    v += head * E
    total = attend(q_tile, k, v, places, times, by_distance, by_bucket, limits, own, here, low,
                   high, steps, stride, v_stride, D, BD, E, BE, ALPHA, INVERSE, WINDOW, CONTEXT,
                   POSITIONS, BUCKETS, False, TYPE, ACC, PRECISION, OWN, OTHERS)
    if any_nan(total):
        total = attend(q_tile, k, v, places, times, by_distance, by_bucket, limits, own, here, low,
                       high, steps, stride, v_stride, D, BD, E, BE, ALPHA, INVERSE, WINDOW,
                       CONTEXT, POSITIONS, BUCKETS, True, TYPE, ACC, PRECISION, OWN, FEW)
    at = own.to(tl.int64)[:, None] * v_stride + head * E + e[None, :]
    tl.store(out + at, total.to(TYPE), mask=here[:, None] & (e < E)[None, :])


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    placed_steps: Tensor,
    scores: Scores,
    heads: int,
    scale: float,
    window: int,
    context: int,
    tile: PairTile | None = None,
) -> Tensor:
    """The attended values [T, heads * E] of q, k [T, heads * D] and v [T, heads * E].

    `placed_steps` are `places`; `scores` what is added to the scores.
    """
    steps, width, v_width = q.shape[0], q.shape[1], v.shape[1]
    q, k, v = (padded_heads(x, heads) for x in (q, k, v))
    out = torch.empty_like(v)
    tile = tile or hstu_tile("forward", q, max(q.shape[1], v.shape[1]) // heads)
    if steps:
        with torch.cuda.device_of(q):
            hstu_attention_kernel[(triton.cdiv(steps, tile.own) * heads,)](
                q,
                k,
                v,
                placed_steps,
                *told(q, scores),
                out,
                steps,
                heads,
                q.shape[1] // unit(q),
                v.shape[1] // unit(v),
                **settings(q, v, width, scores, heads, scale, window, context, tile),
            )
    return of_heads(out, v_width, heads)


def told(x: Tensor, scores: Scores) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Times, both biases and limits as the kernels take them; any tensor for what is not there."""
    position, time, times, limits = (x if part is None else part for part in scores)
    return times, position, time, limits


def settings(
    q: Tensor,
    v: Tensor,
    width: int,
    scores: Scores,
    heads: int,
    scale: float,
    window: int,
    context: int,
    tile: PairTile,
) -> dict[str, Any]:
    """Compile-time arguments of a kernel for padded q and v; q was `width` wide."""
    head, value = q.shape[1] // heads, v.shape[1] // heads
    return {
        "UNIT": unit(q),
        "D": head,
        "BD": max(16, triton.next_power_of_2(head)),
        "E": value,
        "BE": max(16, triton.next_power_of_2(value)),
        "ALPHA": (width // heads) ** -0.5,
        "INVERSE": 1.0 / scale,
        "WINDOW": window,
        "CONTEXT": context > 0,
        "POSITIONS": 0 if scores.position is None else scores.position.shape[0],
        "BUCKETS": 0 if scores.time is None else scores.time.shape[0],
        "ACC": accumulator(q),
        "PRECISION": precision(),
        "OWN": tile.own,
        "OTHERS": tile.others,
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }
