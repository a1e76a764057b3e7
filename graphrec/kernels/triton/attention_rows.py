"""Inside the kernels over histories: whose each step is, sums over rows, online softmax.

A program takes up to 16 neighbouring rows. Their steps lie one behind another, and tiles of steps
are cut regardless of where a row ends; a mask [rows, steps] says whose each step is. A sum over the
steps of each row is then one product with that mask, on tensor cores. Histories of about 25 steps
would leave half of the lanes idle if a tile held one row.
"""
# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl

__all__ = ["ROWS", "place", "program_rows", "row_sums", "softmax_step", "value_of_row"]

ROWS = tl.constexpr(16)
"""Rows of a mask: the least that a product on tensor cores takes."""


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
def row_sums(
    weights, inside, x, total, TYPE: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr
):
    """total [ROWS, N] + weights [ROWS, steps] x [steps, N]; weights are 0 where not inside.

    0 times NaN would carry a NaN from a row to its neighbours. What is not finite is left out of
    the product, and makes its own row NaN.
    """
    x = x.to(TYPE).to(ACC)
    marks = tl.sum(tl.where(inside, tl.sum(x * 0.0, 1)[None, :], 0.0), 1)
    clean = tl.where(tl.abs(x) < float("inf"), x, 0.0).to(TYPE)
    total = tl.dot(weights.to(TYPE), clean, total, input_precision=PRECISION, out_dtype=ACC)
    return total + marks[:, None]


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
):
    """Online softmax: take a tile of scores and values into the tops, sums and weighted sums."""
    s = tl.where(inside, scores[None, :], float("-inf"))
    higher = tl.maximum(top, tl.max(s, 1))
    shrink = tl.exp(top - higher)
    powers = tl.exp(s - higher[:, None])
    whole = whole * shrink + tl.sum(powers, 1)
    total = row_sums(powers, inside, values, total * shrink[:, None], TYPE, ACC, PRECISION)
    return higher, whole, total
