"""Triton: multi-head attention among the steps of each row; a flash attention without padding.

The steps of all rows lie one behind another, and programs are cut from them, not from rows: a
program takes a tile of neighbouring steps for one head, whoever they belong to, and meets them
with the steps from where the row of its first one begins to where the row of its last one ends.
A mask says which of them share a row. So a tile is always full, however short the histories are;
the grid is steps / tile x heads, known from shapes, and no program is without work. A tile for each
row would leave most of its lanes idle for a row of five steps, and its grid needs the longest row.

Being of one row works both ways, so the same range serves queries that look for their keys and,
backwards, keys that look for their queries.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.triton.attention_rows import FEW, any_nan, row_sums
from graphrec.kernels.triton.jagged_attention_tiles import PairTile, pair_tile
from graphrec.kernels.triton.launchers import accumulator, precision, unit, wide

__all__ = [
    "LOG2E",
    "forward",
    "of_heads",
    "padded_heads",
    "row_ends",
    "settings",
    "span",
]

LOG2E = tl.constexpr(1.4426950408889634)
_SEARCHED = 256
"""Steps whose row a program searches."""


@triton.jit(do_not_specialize=["steps", "rows", "halvings"])
def row_ends_kernel(offsets, ends, steps, rows, halvings, BT: tl.constexpr):
    """Where the row of each step begins and ends, ends [2, steps]: a binary search in offsets."""
    step = tl.program_id(0) * BT + tl.arange(0, BT)
    here = step < steps
    low = tl.zeros((BT,), tl.int32)
    high = low + (rows - 1)
    for _ in range(halvings):
        middle = (low + high) // 2
        passed = tl.load(offsets + middle + 1, mask=here, other=0) <= step
        low = tl.where(passed, tl.minimum(middle + 1, high), low)
        high = tl.where(passed, high, middle)
    begin = tl.load(offsets + low, mask=here, other=0)
    end = tl.load(offsets + low + 1, mask=here, other=0)
    tl.store(ends + step, begin.to(tl.int32), mask=here)
    tl.store(ends + steps + step, end.to(tl.int32), mask=here)


@triton.jit
def span(ends, steps, heads, OWN: tl.constexpr):
    """(head, own steps, whether they are, begin and end of their rows, of all of these rows).

    Heads are neighbours: what they read of one step lies side by side.
    """
    program = tl.program_id(0)
    first = program // heads * OWN
    own = first + tl.arange(0, OWN)
    here = own < steps
    # A step that is not meets nobody.
    begin = tl.load(ends + own, mask=here, other=0)
    end = tl.load(ends + steps + own, mask=here, other=0)
    low = tl.load(ends + first)
    high = tl.load(ends + steps + tl.minimum(first + OWN, steps) - 1)
    return program % heads, own, here, begin, end, low, high


# fmt: off
@triton.jit
def attend(
    q, k, v, begin, end, low, high, stride,
    D: tl.constexpr, BD: tl.constexpr, SCALE: tl.constexpr, CAREFUL: tl.constexpr,
    TYPE: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
    OWN: tl.constexpr, OTHERS: tl.constexpr,
):
    # fmt: on
    """(tops, sums, sums of v) of queries q [OWN, BD] over keys from `low` to `high`, in one pass.

    Scores are in base 2. A weight of 0 times a NaN of another row is NaN: CAREFUL keeps it out,
    which costs a pass of v through registers.
    """
    d, other = tl.arange(0, BD), tl.arange(0, OTHERS)
    # Low, but not -inf: the difference of two infinities is NaN.
    top, whole = tl.full((OWN,), -1e38, ACC), tl.zeros((OWN,), ACC)
    total = tl.zeros((OWN, BD), ACC)
    at = other[:, None] * stride + d[None, :]
    k += low.to(tl.int64) * stride
    v += low.to(tl.int64) * stride
    for start in range(low, high, OTHERS):
        key = start + other
        known = (key < high)[:, None] & (d < D)[None, :]
        k_tile = tl.load(k + at, mask=known, other=0.0)
        s = tl.dot(q, tl.trans(k_tile), input_precision=PRECISION, out_dtype=ACC) * SCALE
        inside = (key[None, :] >= begin[:, None]) & (key[None, :] < end[:, None])
        s = tl.where(inside, s, float("-inf"))
        higher = tl.maximum(top, tl.max(s, 1))
        shrink = tl.exp2(top - higher)
        powers = tl.exp2(s - higher[:, None])
        whole = whole * shrink + tl.sum(powers, 1)
        total *= shrink[:, None]
        v_tile = tl.load(v + at, mask=known, other=0.0)
        total = row_sums(powers, inside, v_tile, total, TYPE, ACC, PRECISION, CAREFUL)
        top = higher
        k += OTHERS * stride
        v += OTHERS * stride
    return top, whole, total


# fmt: off
@triton.jit(do_not_specialize=["steps"])
def jagged_attention_kernel(
    q, k, v, ends, out, norm, steps, heads, stride,
    UNIT: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, SCALE: tl.constexpr,
    ACC: tl.constexpr, PRECISION: tl.constexpr, OWN: tl.constexpr, OTHERS: tl.constexpr,
):
    # fmt: on
    """out = softmax(q k^T SCALE / log2 e) v within rows, norm = log of the sums [heads, steps]."""
    TYPE: tl.constexpr = q.dtype.element_ty
    stride *= UNIT
    head, own, here, begin, end, low, high = span(ends, steps, heads, OWN)
    d = tl.arange(0, BD)
    at = own.to(tl.int64)[:, None] * stride + head * D + d[None, :]
    known = here[:, None] & (d < D)[None, :]
    q_tile = tl.load(q + at, mask=known, other=0.0)
    k += head * D
    v += head * D
    top, whole, total = attend(q_tile, k, v, begin, end, low, high, stride,
                               D, BD, SCALE, False, TYPE, ACC, PRECISION, OWN, OTHERS)
    if any_nan(total):
        top, whole, total = attend(q_tile, k, v, begin, end, low, high, stride,
                                   D, BD, SCALE, True, TYPE, ACC, PRECISION, OWN, FEW)
    whole = tl.where(here, whole, 1.0)
    tl.store(out + at, (total / whole[:, None]).to(TYPE), mask=known)
    log_sum = (top + tl.log2(whole)) / LOG2E
    tl.store(norm + head.to(tl.int64) * steps + own, log_sum, mask=here)


def forward(
    q: Tensor, k: Tensor, v: Tensor, ends: Tensor, heads: int, tile: PairTile | None = None
) -> tuple[Tensor, Tensor]:
    """(attention within rows [T, heads * d], log of the sums of exponentials [heads, T]).

    q, k, v [T, heads * d]; ends are `row_ends`.
    """
    steps, width = q.shape
    q, k, v = (padded_heads(x, heads) for x in (q, k, v))
    out, norm = torch.empty_like(q), q.new_empty(heads, steps, dtype=wide(q))
    tile = tile or pair_tile("forward", q, q.shape[1] // heads)
    if steps:
        with torch.cuda.device_of(q):
            jagged_attention_kernel[(triton.cdiv(steps, tile.own) * heads,)](
                q,
                k,
                v,
                ends,
                out,
                norm,
                steps,
                heads,
                q.shape[1] // unit(q),
                **settings(q, width, heads, tile),
            )
    return of_heads(out, width, heads), norm


def row_ends(offsets: Tensor, steps: int) -> Tensor:
    """Where the row of each step begins and ends, [2, T] int32, for offsets [B + 1]."""
    rows = offsets.shape[0] - 1
    ends = offsets.new_empty(2, steps, dtype=torch.int32)
    if steps:
        with torch.cuda.device_of(offsets):
            row_ends_kernel[(triton.cdiv(steps, _SEARCHED),)](
                offsets, ends, steps, rows, (rows - 1).bit_length(), BT=_SEARCHED
            )
    return ends


def padded_heads(x: Tensor, heads: int) -> Tensor:
    """The tensor, or a copy with zeros behind each head: its width is a multiple of 16 bytes."""
    behind = -(x.shape[1] // heads) % unit(x)
    if not behind:
        return x.contiguous()
    heads_apart: Tensor = F.pad(x.unflatten(1, (heads, -1)), (0, behind)).flatten(1)
    return heads_apart


def of_heads(x: Tensor, width: int, heads: int) -> Tensor:
    """What `padded_heads` was given."""
    if x.shape[1] == width:
        return x
    joined: Tensor = x.unflatten(1, (heads, -1))[:, :, : width // heads].flatten(1)
    return joined


def settings(x: Tensor, width: int, heads: int, tile: PairTile) -> dict[str, Any]:
    """Compile-time arguments of a kernel for padded x of what was `width` wide."""
    head = x.shape[1] // heads
    return {
        "UNIT": unit(x),
        "D": head,
        "BD": max(16, triton.next_power_of_2(head)),
        "SCALE": LOG2E.value * (width // heads) ** -0.5,
        "ACC": accumulator(x),
        "PRECISION": precision(),
        "OWN": tile.own,
        "OTHERS": tile.others,
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }
