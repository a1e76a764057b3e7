"""Triton: the gradient of `jagged_attention`, without atomics: one pass for the queries, one for
the keys and values. Each computes the probabilities again from q, k and the saved sums.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.triton.attention_rows import FEW, any_nan, row_sums
from graphrec.kernels.triton.jagged_attention import (
    LOG2E,
    of_heads,
    padded_heads,
    settings,
    span,
)
from graphrec.kernels.triton.jagged_attention_tiles import PairTile, pair_tile
from graphrec.kernels.triton.launchers import unit

__all__ = ["backward"]


# fmt: off
@triton.jit
def of_queries(
    q, g, log_sum, delta, k, v, begin, end, low, high, stride,
    D: tl.constexpr, BD: tl.constexpr, SCALE: tl.constexpr, CAREFUL: tl.constexpr,
    TYPE: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
    OWN: tl.constexpr, OTHERS: tl.constexpr,
):
    # fmt: on
    """Gradient of queries q [OWN, BD], before scaling: over keys from `low` to `high`."""
    d, other = tl.arange(0, BD), tl.arange(0, OTHERS)
    dq = tl.zeros((OWN, BD), ACC)
    at = other[:, None] * stride + d[None, :]
    k += low.to(tl.int64) * stride
    v += low.to(tl.int64) * stride
    for start in range(low, high, OTHERS):
        key = start + other
        known = (key < high)[:, None] & (d < D)[None, :]
        k_tile = tl.load(k + at, mask=known, other=0.0)
        v_tile = tl.load(v + at, mask=known, other=0.0)
        s = tl.dot(q, tl.trans(k_tile), input_precision=PRECISION, out_dtype=ACC) * SCALE
        dp = tl.dot(g, tl.trans(v_tile), input_precision=PRECISION, out_dtype=ACC)
        inside = (key[None, :] >= begin[:, None]) & (key[None, :] < end[:, None])
        p = tl.exp2(tl.where(inside, s - log_sum[:, None], float("-inf")))
        ds = tl.where(inside, p * (dp - delta[:, None]), 0.0)
        dq = row_sums(ds, inside, k_tile, dq, TYPE, ACC, PRECISION, CAREFUL)
        k += OTHERS * stride
        v += OTHERS * stride
    return dq


# fmt: off
@triton.jit(do_not_specialize=["steps"])
def queries_grad_kernel(
    grad, q, k, v, ends, out, norm, delta, q_grad, steps, heads, stride,
    UNIT: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, SCALE: tl.constexpr,
    ACC: tl.constexpr, PRECISION: tl.constexpr, OWN: tl.constexpr, OTHERS: tl.constexpr,
):
    # fmt: on
    """Gradient of q; and delta [heads, steps], the sum of grad * out, for the other pass."""
    TYPE: tl.constexpr = q.dtype.element_ty
    stride *= UNIT
    head, own, here, begin, end, low, high = span(ends, steps, heads, OWN)
    d = tl.arange(0, BD)
    at = own.to(tl.int64)[:, None] * stride + head * D + d[None, :]
    known = here[:, None] & (d < D)[None, :]
    q_tile = tl.load(q + at, mask=known, other=0.0)
    g_tile = tl.load(grad + at, mask=known, other=0.0)
    y = tl.load(out + at, mask=known, other=0.0).to(ACC)
    shift = tl.sum(g_tile.to(ACC) * y, 1)
    of_head = head.to(tl.int64) * steps + own
    tl.store(delta + of_head, shift, mask=here)
    log_sum = tl.load(norm + of_head, mask=here, other=0.0) * LOG2E
    k += head * D
    v += head * D
    dq = of_queries(q_tile, g_tile, log_sum, shift, k, v, begin, end, low, high, stride,
                    D, BD, SCALE, False, TYPE, ACC, PRECISION, OWN, OTHERS)
    if any_nan(dq):
        dq = of_queries(q_tile, g_tile, log_sum, shift, k, v, begin, end, low, high, stride,
                        D, BD, SCALE, True, TYPE, ACC, PRECISION, OWN, FEW)
    tl.store(q_grad + at, (dq * (SCALE / LOG2E)).to(TYPE), mask=known)


# fmt: off
@triton.jit
def of_keys(
    k, v, q, grad, norm, delta, begin, end, low, high, stride,
    D: tl.constexpr, BD: tl.constexpr, SCALE: tl.constexpr, CAREFUL: tl.constexpr,
    TYPE: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
    OWN: tl.constexpr, OTHERS: tl.constexpr,
):
    # fmt: on
    """Gradients of keys k, before scaling, and of values v [OWN, BD]: over the queries."""
    d, other = tl.arange(0, BD), tl.arange(0, OTHERS)
    dk, dv = tl.zeros((OWN, BD), ACC), tl.zeros((OWN, BD), ACC)
    at = other[:, None] * stride + d[None, :]
    q += low.to(tl.int64) * stride
    grad += low.to(tl.int64) * stride
    for start in range(low, high, OTHERS):
        query = start + other
        there = query < high
        known = there[:, None] & (d < D)[None, :]
        q_tile = tl.load(q + at, mask=known, other=0.0)
        g_tile = tl.load(grad + at, mask=known, other=0.0)
        log_sum = tl.load(norm + query, mask=there, other=0.0) * LOG2E
        shift = tl.load(delta + query, mask=there, other=0.0)
        s = tl.dot(k, tl.trans(q_tile), input_precision=PRECISION, out_dtype=ACC) * SCALE
        dp = tl.dot(v, tl.trans(g_tile), input_precision=PRECISION, out_dtype=ACC)
        inside = (query[None, :] >= begin[:, None]) & (query[None, :] < end[:, None])
        p = tl.exp2(tl.where(inside, s - log_sum[None, :], float("-inf")))
        ds = tl.where(inside, p * (dp - shift[None, :]), 0.0)
        dv = row_sums(p, inside, g_tile, dv, TYPE, ACC, PRECISION, CAREFUL)
        dk = row_sums(ds, inside, q_tile, dk, TYPE, ACC, PRECISION, CAREFUL)
        q += OTHERS * stride
        grad += OTHERS * stride
    return dk, dv


# fmt: off
@triton.jit(do_not_specialize=["steps"])
def keys_grad_kernel(
    grad, q, k, v, ends, norm, delta, k_grad, v_grad, steps, heads, stride,
    UNIT: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, SCALE: tl.constexpr,
    ACC: tl.constexpr, PRECISION: tl.constexpr, OWN: tl.constexpr, OTHERS: tl.constexpr,
):
    # fmt: on
    """Gradients of k and v."""
    TYPE: tl.constexpr = q.dtype.element_ty
    stride *= UNIT
    head, own, here, begin, end, low, high = span(ends, steps, heads, OWN)
    d = tl.arange(0, BD)
    at = own.to(tl.int64)[:, None] * stride + head * D + d[None, :]
    known = here[:, None] & (d < D)[None, :]
    k_tile = tl.load(k + at, mask=known, other=0.0)
    v_tile = tl.load(v + at, mask=known, other=0.0)
    q += head * D
    grad += head * D
    norm += head.to(tl.int64) * steps
    delta += head.to(tl.int64) * steps
    dk, dv = of_keys(k_tile, v_tile, q, grad, norm, delta, begin, end, low, high, stride,
                     D, BD, SCALE, False, TYPE, ACC, PRECISION, OWN, OTHERS)
    if any_nan(dk) | any_nan(dv):
        dk, dv = of_keys(k_tile, v_tile, q, grad, norm, delta, begin, end, low, high, stride,
                         D, BD, SCALE, True, TYPE, ACC, PRECISION, OWN, FEW)
    tl.store(k_grad + at, (dk * (SCALE / LOG2E)).to(TYPE), mask=known)
    tl.store(v_grad + at, dv.to(TYPE), mask=known)


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    ends: Tensor,
    out: Tensor,
    norm: Tensor,
    heads: int,
    tile: PairTile | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v [T, heads * d]."""
    steps, width = q.shape
    grad, q, k, v, out = (padded_heads(x, heads) for x in (grad, q, k, v, out))
    delta = torch.empty_like(norm)
    dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
    head, sizes = q.shape[1] // heads, (steps, heads, q.shape[1] // unit(q))
    for_queries = tile or pair_tile("queries", q, head)
    for_keys = tile or pair_tile("keys", q, head)
    if steps:
        with torch.cuda.device_of(q):
            queries_grad_kernel[(triton.cdiv(steps, for_queries.own) * heads,)](
                grad,
                q,
                k,
                v,
                ends,
                out,
                norm,
                delta,
                dq,
                *sizes,
                **settings(q, width, heads, for_queries),
            )
            keys_grad_kernel[(triton.cdiv(steps, for_keys.own) * heads,)](
                grad,
                q,
                k,
                v,
                ends,
                norm,
                delta,
                dk,
                dv,
                *sizes,
                **settings(q, width, heads, for_keys),
            )
    return of_heads(dq, width, heads), of_heads(dk, width, heads), of_heads(dv, width, heads)
