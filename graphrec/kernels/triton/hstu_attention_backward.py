"""Triton: the gradient of `hstu_attention`: one pass for the queries and the biases, one for the
keys and values. Each computes the scores again, so that nothing of size [L, L] is kept.

The biases' sums alone are added atomically, in one of `SLOTS` rows each so that programs seldom
meet: pairs of one distance or bucket stand all over a tile, and a sum for each number would cost
more than the products. Their last digits depend on the order; everything else is equal bits.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.triton.attention_rows import FEW, any_nan, row_sums
from graphrec.kernels.triton.hstu_attention import settings, told
from graphrec.kernels.triton.hstu_pairs import Scores, meets, placed, silu_slope, with_biases
from graphrec.kernels.triton.hstu_tiles import hstu_tile
from graphrec.kernels.triton.jagged_attention import of_heads, padded_heads, span
from graphrec.kernels.triton.jagged_attention_tiles import PairTile
from graphrec.kernels.triton.launchers import unit, wide

__all__ = ["SLOTS", "backward"]

SLOTS = 64
"""Rows of sums of the biases."""


# fmt: off
@triton.jit
def of_queries(
    q, g, k, v, places, times, by_distance, by_bucket, limits, distance_sums, bucket_sums,
    own, here, low, high, steps, stride, v_stride,
    D: tl.constexpr, BD: tl.constexpr, E: tl.constexpr, BE: tl.constexpr, ALPHA: tl.constexpr,
    INVERSE: tl.constexpr, WINDOW: tl.constexpr, CONTEXT: tl.constexpr, POSITIONS: tl.constexpr,
    BUCKETS: tl.constexpr, CAREFUL: tl.constexpr, SUMS: tl.constexpr, TYPE: tl.constexpr,
    ACC: tl.constexpr, PRECISION: tl.constexpr, OWN: tl.constexpr, OTHERS: tl.constexpr,
):
    # fmt: on
    """Gradient of queries q [OWN, BD], before ALPHA: over keys from `low` to `high`.

    With SUMS the gradients of the scores are added to those of the biases.
    """
    d, e, other = tl.arange(0, BD), tl.arange(0, BE), tl.arange(0, OTHERS)
    dq = tl.zeros((OWN, BD), ACC)
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
        v_tile = tl.load(v + v_at, mask=there[:, None] & (e < E)[None, :], other=0.0)
        s = tl.dot(q, tl.trans(k_tile), input_precision=PRECISION, out_dtype=ACC) * ALPHA
        dp = tl.dot(g, tl.trans(v_tile), input_precision=PRECISION, out_dtype=ACC) * INVERSE
        key_begin, key_ids, key_stand, key_marks = placed(places, steps, key, there, -2)
        met = meets(own[:, None], begin[:, None], ids[:, None], marks[:, None],
                    key[None, :], key_begin[None, :], key_ids[None, :], key_marks[None, :],
                    WINDOW, CONTEXT)
        if (POSITIONS > 0) | (BUCKETS > 0):
            key_time = tl.load(times + key, mask=there & (BUCKETS > 0), other=0)
            s, apart, bucket = with_biases(
                s, stand[:, None], key_stand[None, :], time[:, None], key_time[None, :],
                by_distance, by_bucket, limits, POSITIONS, BUCKETS)
            _, slope = silu_slope(s)
            ds = tl.where(met, dp * slope, 0.0)
            if SUMS & (POSITIONS > 0):
                tl.atomic_add(distance_sums + apart, ds, mask=met, sem="relaxed")
            if SUMS & (BUCKETS > 0):
                tl.atomic_add(bucket_sums + bucket, ds, mask=met, sem="relaxed")
        else:
            _, slope = silu_slope(s)
            ds = tl.where(met, dp * slope, 0.0)
        dq = row_sums(ds, met, k_tile, dq, TYPE, ACC, PRECISION, CAREFUL)
        k += OTHERS * stride
        v += OTHERS * v_stride
    return dq


# fmt: off
@triton.jit(do_not_specialize=["steps"])
def queries_grad_kernel(
    grad, q, k, v, places, times, by_distance, by_bucket, limits, q_grad, distance_sums,
    bucket_sums, steps, heads, stride, v_stride,
    UNIT: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, E: tl.constexpr, BE: tl.constexpr,
    ALPHA: tl.constexpr, INVERSE: tl.constexpr, WINDOW: tl.constexpr, CONTEXT: tl.constexpr,
    POSITIONS: tl.constexpr, BUCKETS: tl.constexpr, SUMMED: tl.constexpr,
    ACC: tl.constexpr, PRECISION: tl.constexpr, OWN: tl.constexpr, OTHERS: tl.constexpr,
):
    # fmt: on
    """Gradient of q, and sums for the biases, [SUMMED, POSITIONS] and [SUMMED, BUCKETS]."""
    TYPE: tl.constexpr = q.dtype.element_ty
    stride *= UNIT
    v_stride *= UNIT
    head, own, here, _, _, low, high = span(places, steps, heads, OWN)
    if not CONTEXT:
        high = tl.minimum(high, tl.program_id(0) // heads * OWN + OWN)
    d, e = tl.arange(0, BD), tl.arange(0, BE)
    known = here[:, None] & (d < D)[None, :]
    at = own.to(tl.int64)[:, None] * stride + head * D + d[None, :]
    v_at = own.to(tl.int64)[:, None] * v_stride + head * E + e[None, :]
    q_tile = tl.load(q + at, mask=known, other=0.0)
    g_tile = tl.load(grad + v_at, mask=here[:, None] & (e < E)[None, :], other=0.0)
    slot = tl.program_id(0) % SUMMED
    distance_sums += slot * POSITIONS
    bucket_sums += slot * BUCKETS
    k += head * D
    v += head * E
    dq = of_queries(q_tile, g_tile, k, v, places, times, by_distance, by_bucket, limits,
                    distance_sums, bucket_sums, own, here, low, high, steps, stride, v_stride,
                    D, BD, E, BE, ALPHA, INVERSE, WINDOW, CONTEXT, POSITIONS, BUCKETS, False, True,
                    TYPE, ACC, PRECISION, OWN, OTHERS)
    if any_nan(dq):
        dq = of_queries(q_tile, g_tile, k, v, places, times, by_distance, by_bucket, limits,
                        distance_sums, bucket_sums, own, here, low, high, steps, stride, v_stride,
                        D, BD, E, BE, ALPHA, INVERSE, WINDOW, CONTEXT, POSITIONS, BUCKETS, True,
                        False, TYPE, ACC, PRECISION, OWN, FEW)
    tl.store(q_grad + at, (dq * ALPHA).to(TYPE), mask=known)


# fmt: off
@triton.jit
def of_keys(
    k, v, q, grad, places, times, by_distance, by_bucket, limits, own, here, low, high, steps,
    stride, v_stride,
    D: tl.constexpr, BD: tl.constexpr, E: tl.constexpr, BE: tl.constexpr, ALPHA: tl.constexpr,
    INVERSE: tl.constexpr, WINDOW: tl.constexpr, CONTEXT: tl.constexpr, POSITIONS: tl.constexpr,
    BUCKETS: tl.constexpr, CAREFUL: tl.constexpr, TYPE: tl.constexpr, ACC: tl.constexpr,
    PRECISION: tl.constexpr, OWN: tl.constexpr, OTHERS: tl.constexpr,
):
    # fmt: on
    """Gradients of keys k, before ALPHA, and of values v [OWN, BE]: over the queries."""
    d, e, other = tl.arange(0, BD), tl.arange(0, BE), tl.arange(0, OTHERS)
    dk, dv = tl.zeros((OWN, BD), ACC), tl.zeros((OWN, BE), ACC)
    at = other[:, None] * stride + d[None, :]
    v_at = other[:, None] * v_stride + e[None, :]
    q += low.to(tl.int64) * stride
    grad += low.to(tl.int64) * v_stride
    begin, ids, stand, marks = placed(places, steps, own, here, -1)
    time = tl.load(times + own, mask=here & (BUCKETS > 0), other=0)
    for start in range(low, high, OTHERS):
        query = start + other
        there = query < high
        q_tile = tl.load(q + at, mask=there[:, None] & (d < D)[None, :], other=0.0)
        g_tile = tl.load(grad + v_at, mask=there[:, None] & (e < E)[None, :], other=0.0)
        s = tl.dot(k, tl.trans(q_tile), input_precision=PRECISION, out_dtype=ACC) * ALPHA
        dp = tl.dot(v, tl.trans(g_tile), input_precision=PRECISION, out_dtype=ACC) * INVERSE
        its_begin, its_ids, its_stand, its_marks = placed(places, steps, query, there, -2)
        met = meets(query[None, :], its_begin[None, :], its_ids[None, :], its_marks[None, :],
                    own[:, None], begin[:, None], ids[:, None], marks[:, None], WINDOW, CONTEXT)
        if (POSITIONS > 0) | (BUCKETS > 0):
            its_time = tl.load(times + query, mask=there & (BUCKETS > 0), other=0)
            s, _, _ = with_biases(s, its_stand[None, :], stand[:, None], its_time[None, :],
                                  time[:, None], by_distance, by_bucket, limits,
                                  POSITIONS, BUCKETS)
        value, slope = silu_slope(s)
        ds = tl.where(met, dp * slope, 0.0)
        p = tl.where(met, value * INVERSE, 0.0)
        dv = row_sums(p, met, g_tile, dv, TYPE, ACC, PRECISION, CAREFUL)
        dk = row_sums(ds, met, q_tile, dk, TYPE, ACC, PRECISION, CAREFUL)
        q += OTHERS * stride
        grad += OTHERS * v_stride
    return dk, dv


# fmt: off
@triton.jit(do_not_specialize=["steps"])
def keys_grad_kernel(
    grad, q, k, v, places, times, by_distance, by_bucket, limits, k_grad, v_grad, steps, heads,
    stride, v_stride,
    UNIT: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, E: tl.constexpr, BE: tl.constexpr,
    ALPHA: tl.constexpr, INVERSE: tl.constexpr, WINDOW: tl.constexpr, CONTEXT: tl.constexpr,
    POSITIONS: tl.constexpr, BUCKETS: tl.constexpr,
    ACC: tl.constexpr, PRECISION: tl.constexpr, OWN: tl.constexpr, OTHERS: tl.constexpr,
):
    # fmt: on
    """Gradients of k and v."""
    TYPE: tl.constexpr = q.dtype.element_ty
    stride *= UNIT
    v_stride *= UNIT
    head, own, here, _, _, low, high = span(places, steps, heads, OWN)
    if not CONTEXT:
        low = tl.maximum(low, tl.program_id(0) // heads * OWN)
    d, e = tl.arange(0, BD), tl.arange(0, BE)
    known, v_known = here[:, None] & (d < D)[None, :], here[:, None] & (e < E)[None, :]
    at = own.to(tl.int64)[:, None] * stride + head * D + d[None, :]
    v_at = own.to(tl.int64)[:, None] * v_stride + head * E + e[None, :]
    k_tile = tl.load(k + at, mask=known, other=0.0)
    v_tile = tl.load(v + v_at, mask=v_known, other=0.0)
    q += head * D
    grad += head * E
    dk, dv = of_keys(k_tile, v_tile, q, grad, places, times, by_distance, by_bucket, limits, own,
                     here, low, high, steps, stride, v_stride, D, BD, E, BE, ALPHA, INVERSE,
                     WINDOW, CONTEXT, POSITIONS, BUCKETS, False, TYPE, ACC, PRECISION, OWN, OTHERS)
    if any_nan(dk) | any_nan(dv):
        dk, dv = of_keys(k_tile, v_tile, q, grad, places, times, by_distance, by_bucket, limits,
                         own, here, low, high, steps, stride, v_stride, D, BD, E, BE, ALPHA,
                         INVERSE, WINDOW, CONTEXT, POSITIONS, BUCKETS, True, TYPE, ACC, PRECISION,
                         OWN, FEW)
    tl.store(k_grad + at, (dk * ALPHA).to(TYPE), mask=known)
    tl.store(v_grad + v_at, dv.to(TYPE), mask=v_known)


def backward(
    grad: Tensor,
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, and of the biases by distance and by bucket (empty: there is none).

    Arguments are those of the forward; `grad` [T, heads * E] is that of its result.
    """
    steps, width, v_width = q.shape[0], q.shape[1], v.shape[1]
    grad, q, k, v = (padded_heads(x, heads) for x in (grad, q, k, v))
    dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
    sums = [
        q.new_zeros(SLOTS, 0 if bias is None else bias.shape[0], dtype=wide(q))
        for bias in (scores.position, scores.time)
    ]
    head = max(q.shape[1], v.shape[1]) // heads
    for_queries, for_keys = (tile or hstu_tile(of, q, head) for of in ("queries", "keys"))
    strides = steps, heads, q.shape[1] // unit(q), v.shape[1] // unit(v)
    read = grad, q, k, v, placed_steps, *told(q, scores)
    how = width, scores, heads, scale, window, context
    if steps:
        with torch.cuda.device_of(q):
            queries_grad_kernel[(triton.cdiv(steps, for_queries.own) * heads,)](
                *read, dq, *sums, *strides, SUMMED=SLOTS, **settings(q, v, *how, for_queries)
            )
            keys_grad_kernel[(triton.cdiv(steps, for_keys.own) * heads,)](
                *read, dk, dv, *strides, **settings(q, v, *how, for_keys)
            )
    return (
        of_heads(dq, width, heads),
        of_heads(dk, width, heads),
        of_heads(dv, v_width, heads),
        sums[0].sum(0),
        sums[1].sum(0),
    )
