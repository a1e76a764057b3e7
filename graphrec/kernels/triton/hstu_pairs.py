"""Inside HSTU's kernels: where steps stand, which pairs meet, what is added to their scores.

Programs are cut from the steps of all rows, as in `jagged_attention`: `places` [5, T] tells of
each step where its row begins and ends, its id (all of the context has 0, all candidates one), how
far it stands from the row's first step (candidates stand where the first one does), and its marks:
1 of the context, 2 of the history.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["Scores", "meets", "placed", "places", "silu_slope", "with_biases"]

PER_E = tl.constexpr(3.3222591362126246)
"""Buckets of time for each factor e: 1 / 0.301."""
_SEARCHED = 256
"""Steps whose row a program searches."""


class Scores(NamedTuple):
    """What is added to scores: by distance [P], by bucket [N] of the difference of times [T]."""

    position: Tensor | None
    time: Tensor | None
    times: Tensor | None
    limits: Tensor | None


# fmt: off
@triton.jit(do_not_specialize=["steps", "rows", "halvings", "context"])
def places_kernel(
    offsets, targets, places, steps, rows, halvings, context,
    TARGETS: tl.constexpr, BT: tl.constexpr,
):
    # fmt: on
    """The five numbers of each step, places [5, steps]: a binary search in offsets."""
    step = tl.program_id(0) * BT + tl.arange(0, BT)
    here = step < steps
    low = tl.zeros((BT,), tl.int32)
    high = low + (rows - 1)
    for _ in range(halvings):
        middle = (low + high) // 2
        passed = tl.load(offsets + middle + 1, mask=here, other=0) <= step
        low = tl.where(passed, tl.minimum(middle + 1, high), low)
        high = tl.where(passed, high, middle)
    begin = tl.load(offsets + low, mask=here, other=0).to(tl.int32)
    end = tl.load(offsets + low + 1, mask=here, other=0).to(tl.int32)
    history = end - begin
    if TARGETS:
        history -= tl.load(targets + low, mask=here, other=0).to(tl.int32)
    at = step - begin
    stand = tl.minimum(at, history)
    first = tl.minimum(history, context)
    ids = tl.where(first > 0, tl.maximum(stand - first + 1, 0), stand)
    marks = (at < first).to(tl.int32) + 2 * (at < history).to(tl.int32)
    tl.store(places + step, begin, mask=here)
    tl.store(places + steps + step, end, mask=here)
    tl.store(places + 2 * steps + step, ids, mask=here)
    tl.store(places + 3 * steps + step, stand, mask=here)
    tl.store(places + 4 * steps + step, marks, mask=here)


def places(offsets: Tensor, targets: Tensor | None, steps: int, context: int) -> Tensor:
    """What the kernels are told of each step, [5, T] int32, for offsets [B + 1], targets [B]."""
    rows = offsets.shape[0] - 1
    places = offsets.new_empty(5, steps, dtype=torch.int32)
    if steps:
        with torch.cuda.device_of(offsets):
            places_kernel[(triton.cdiv(steps, _SEARCHED),)](
                offsets,
                offsets if targets is None else targets,
                places,
                steps,
                rows,
                (rows - 1).bit_length(),
                context,
                TARGETS=targets is not None,
                BT=_SEARCHED,
            )
    return places


@triton.jit
def placed(places, steps, step, there, NOBODY: tl.constexpr):
    """(begin of the row, id, stand, marks) of steps; those not there are of row NOBODY."""
    begin = tl.load(places + step, mask=there, other=NOBODY)
    ids = tl.load(places + 2 * steps + step, mask=there, other=0)
    stand = tl.load(places + 3 * steps + step, mask=there, other=0)
    marks = tl.load(places + 4 * steps + step, mask=there, other=0)
    return begin, ids, stand, marks


# fmt: off
@triton.jit
def meets(
    step, begin, ids, marks, key, key_begin, key_ids, key_marks,
    WINDOW: tl.constexpr, CONTEXT: tl.constexpr,
):
    # fmt: on
    """Which queries meet which keys; both are given in shapes that broadcast."""
    before = ids - key_ids
    met = before > 0
    if WINDOW > 0:
        met = met & (before <= WINDOW)
    if CONTEXT:
        met = met | (((marks & 1) != 0) & ((key_marks & 2) != 0))
    return (met | (step == key)) & (begin == key_begin)


@triton.jit
def bucket_of(apart, limits, BUCKETS: tl.constexpr):
    """The last bucket whose least difference (`limits`) is not above `apart`.

    The logarithm is right but for its rounding: one step to either side mends that exactly.
    """
    close = tl.log(tl.maximum(apart, 1).to(tl.float32)) * PER_E
    bucket = tl.minimum(close.to(tl.int32), BUCKETS - 1)
    bucket = tl.where(tl.load(limits + bucket) > apart, bucket - 1, bucket)
    behind = tl.minimum(bucket + 1, BUCKETS - 1)
    return tl.where(tl.load(limits + behind) <= apart, behind, bucket)


# fmt: off
@triton.jit
def with_biases(
    s, stand, key_stand, time, key_time, by_distance, by_bucket, limits,
    POSITIONS: tl.constexpr, BUCKETS: tl.constexpr,
):
    # fmt: on
    """(scores with what is added to them, the distance and the bucket of each pair)."""
    apart = tl.minimum(tl.abs(stand - key_stand), tl.maximum(POSITIONS - 1, 0))
    bucket = apart
    if POSITIONS > 0:
        s += tl.load(by_distance + apart).to(s.dtype)
    if BUCKETS > 0:
        bucket = bucket_of(tl.abs(time - key_time), limits, BUCKETS)
        s += tl.load(by_bucket + bucket).to(s.dtype)
    return s, apart, bucket


@triton.jit
def silu_slope(s):
    """(silu(s), its derivative)."""
    share = tl.sigmoid(s)
    return s * share, share * (1.0 + s * (1.0 - share))
