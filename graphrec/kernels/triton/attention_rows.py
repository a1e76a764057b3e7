"""Inside the kernels over histories: whose each step is, sums over rows, online softmax.

A program takes up to 16 neighbouring rows. Their steps lie one behind another, and tiles of steps
are cut regardless of where a row ends; a mask [rows, steps] says whose each step is. A sum over the
steps of each row is then one product with that mask, on tensor cores. Histories of about 25 steps
would leave half of the lanes idle if a tile held one row.
"""
# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl

__all__ = [
    "FEW",
    "ROWS",
    "any_nan",
    "place",
    "program_rows",
    "row_sums",
    "softmax_step",
    "value_of_row",
]

ROWS = tl.constexpr(16)
"""Rows of a mask: the least that a product on tensor cores takes."""
FEW = tl.constexpr(16)
"""Steps at a time where care is taken: rare, so it must not cost the other way registers."""


@triton.jit
def program_rows(offsets, block, rows, TAKES: tl.constexpr):
    """(first row, how many, where each begins and ends, the first step, how many steps).

    Rows and steps count from the first ones of the program: 32 bits hold them.
    """
    first = tl.full((), TAKES, tl.int64) * block
    count = tl.minimum(rows - first, TAKES).to(tl.int32)
    row = tl.arange(0, ROWS)
    offsets += first
    low = tl.load(offsets)
    # Beyond the last row both ends are the last step: nothing is inside.
    begin = (tl.load(offsets + tl.minimum(row, count)) - low).to(tl.int32)
    end = (tl.load(offsets + tl.minimum(row + 1, count)) - low).to(tl.int32)
    return first, count, begin, end, low, (tl.load(offsets + count) - low).to(tl.int32)


@triton.jit
def place(step, begin, end):
    """(mask [ROWS, steps] of whose a step is, the row [steps] within the program)."""
    passed = step[None, :] >= end[:, None]
    inside = (step[None, :] >= begin[:, None]) & (passed == 0)
    return inside, tl.minimum(tl.sum(passed.to(tl.int32), 0), ROWS - 1)


@triton.jit
def value_of_row(inside, values):
    """For each step the value of its row; 0 where it has none."""
    return tl.sum(tl.where(inside, values[:, None], 0.0), 0)


@triton.jit
def any_nan(x):
    """Whether there is a NaN in a matrix."""
    return tl.max(tl.max((x != x).to(tl.int32), 1), 0) > 0


@triton.jit
def row_sums(
    weights,
    inside,
    x,
    total,
    TYPE: tl.constexpr,
    ACC: tl.constexpr,
    PRECISION: tl.constexpr,
    CAREFUL: tl.constexpr,
):
    """total [ROWS, N] + weights [ROWS, steps] x [steps, N]; weights are 0 where not inside.

    0 times NaN or infinity is NaN, and so carries it from a row to its neighbours. That shows in
    the total: only if `any_nan` finds it there, the caller starts again, CAREFUL. What is not
    finite then is left out of the product, and makes its own row NaN.
    """
    x = x.to(TYPE)
    if CAREFUL:
        wide = x.to(ACC)
        marks = tl.sum(tl.where(inside, tl.sum(wide * 0.0, 1)[None, :], 0.0), 1)
        total += marks[:, None]
        x = tl.where(tl.abs(wide) < float("inf"), wide, 0.0).to(TYPE)
    return tl.dot(weights.to(TYPE), x, total, input_precision=PRECISION, out_dtype=ACC)


@triton.jit
def softmax_step(
    scores,
    values,
    inside,
    top,
    whole,
    total,
    TYPE: tl.constexpr,
    ACC: tl.constexpr,
    PRECISION: tl.constexpr,
    CAREFUL: tl.constexpr,
):
    """Online softmax: take a tile of scores and values into the tops, sums and weighted sums."""
    s = tl.where(inside, scores[None, :], float("-inf"))
    higher = tl.maximum(top, tl.max(s, 1))
    shrink = tl.exp(top - higher)
    powers = tl.exp(s - higher[:, None])
    whole = whole * shrink + tl.sum(powers, 1)
    total *= shrink[:, None]
    total = row_sums(powers, inside, values, total, TYPE, ACC, PRECISION, CAREFUL)
    return higher, whole, total
