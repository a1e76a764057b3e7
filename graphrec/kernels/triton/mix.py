"""Triton: the experts mixed by every gate at once, and the gradient of both in one launch.

A program takes a few rows and passes over the experts once: each expert row is loaded once for all
gates. A row's largest logit and sum of exponentials are found first, from the few numbers it has; a
weight is then one exponential of a logit that is in the cache. What a gate does not see is cut off
by a mask, not by a zero weight: an infinity of an expert reaches only the gates that see it.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.triton.expert_tiles import BACKWARD, FORWARD, MixTile, mix_tile
from graphrec.kernels.triton.launchers import accumulator, unit

__all__ = ["backward", "forward"]


@triton.jit
def softmax_parts(
    logits,
    m,
    in_m,
    count,
    gates,
    width,
    tasks,
    private,
    ACC: tl.constexpr,
    G: tl.constexpr,
    C: tl.constexpr,
):
    """Logits [G, BM, C] with -inf where no expert sits; the largest, and one over the sum."""
    g, c = tl.arange(0, G)[:, None, None], tl.arange(0, C)[None, None, :]
    seen = tl.where(g < tasks, count - (tasks - 1) * private, count)
    inside = in_m[None, :, None] & (g < gates) & (c < seen)
    at = (m[None, :, None] * gates + g) * width + c
    # Rows and gates beyond the last get zeros: -inf alone would make NaN.
    values = tl.where(c < seen, tl.load(logits + at, mask=inside, other=0.0).to(ACC), float("-inf"))
    top = tl.max(values, 2)
    return values, top, 1.0 / tl.sum(tl.exp(values - top[:, :, None]), 2)


@triton.jit
def seat_of(expert, G: tl.constexpr, tasks, private):
    """Which logit of each gate is the expert's, [G, 1]; below zero if the gate doesn't see it."""
    g = tl.arange(0, G)[:, None]
    shared = expert - tasks * private
    own = tl.where(expert // private == g, expert % private, -1)
    return tl.where(g < tasks, tl.where(shared >= 0, private + shared, own), expert)


@triton.jit(do_not_specialize=["rows"])
def mix_kernel(
    logits,
    experts,
    mixed,
    rows,
    count,
    columns,
    gates,
    width,
    tasks,
    private,
    UNIT: tl.constexpr,
    SOME: tl.constexpr,
    ACC: tl.constexpr,
    G: tl.constexpr,
    C: tl.constexpr,
    BM: tl.constexpr,
    BD: tl.constexpr,
):
    """mixed[g] = sum over e of softmax(logits[:, g])_e experts[:, e]."""
    columns *= UNIT
    m = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    d = tl.program_id(1) * BD + tl.arange(0, BD)
    g = tl.arange(0, G)[:, None]
    in_m = m < rows
    _, top, scale = softmax_parts(logits, m, in_m, count, gates, width, tasks, private, ACC, G, C)
    logit = logits + (m[None, :] * gates + g) * width
    real = in_m[None, :] & (g < gates)
    inside = in_m[None, :, None] & (d < columns)[None, None, :]
    tile = experts + m[None, :, None] * count * columns + d[None, None, :]
    total = tl.zeros((G, BM, BD), ACC)
    for e in tl.range(0, count, num_stages=3):
        seat = seat_of(e, G, tasks, private)
        value = tl.load(logit + seat, mask=real & (seat >= 0), other=float("-inf")).to(ACC)
        weight = tl.exp(value - top) * scale
        term = weight[:, :, None] * tl.load(tile, mask=inside, other=0.0).to(ACC)
        if SOME:
            term = tl.where((seat >= 0)[:, :, None], term, 0.0)
        total += term
        tile += columns
    at = (g[:, :, None] * rows + m[None, :, None]) * columns + d[None, None, :]
    fits = real[:, :, None] & (d < columns)[None, None, :]
    tl.store(mixed + at, total.to(mixed.dtype.element_ty), mask=fits)


@triton.jit(do_not_specialize=["rows"])
def mix_backward_kernel(
    grad,
    logits,
    experts,
    to_logits,
    to_experts,
    rows,
    count,
    columns,
    gates,
    width,
    tasks,
    private,
    UNIT: tl.constexpr,
    SOME: tl.constexpr,
    ACC: tl.constexpr,
    G: tl.constexpr,
    C: tl.constexpr,
    BM: tl.constexpr,
    BD: tl.constexpr,
):
    """to_experts[:, e] = sum over g of weight_ge grad[g]; to_logits through the softmax."""
    columns *= UNIT
    m = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    g, c = tl.arange(0, G)[:, None], tl.arange(0, C)[None, None, :]
    in_m = m < rows
    values, top, scale = softmax_parts(
        logits, m, in_m, count, gates, width, tasks, private, ACC, G, C
    )
    logit = logits + (m[None, :] * gates + g) * width
    real = in_m[None, :] & (g < gates)
    to_weights = tl.zeros((G, BM, C), ACC)
    for start in range(0, columns, BD):
        d = start + tl.arange(0, BD)
        inside = in_m[None, :, None] & (d < columns)[None, None, :]
        at = (g[:, :, None] * rows + m[None, :, None]) * columns + d[None, None, :]
        fits = real[:, :, None] & (d < columns)[None, None, :]
        cotangent = tl.load(grad + at, mask=fits, other=0.0).to(ACC)
        place = m[None, :, None] * count * columns + d[None, None, :]
        for e in tl.range(0, count, num_stages=2):
            seat = seat_of(e, G, tasks, private)
            value = tl.load(logit + seat, mask=real & (seat >= 0), other=float("-inf")).to(ACC)
            weight = tl.exp(value - top) * scale
            term = weight[:, :, None] * cotangent
            if SOME:
                term = tl.where((seat >= 0)[:, :, None], term, 0.0)
            expert = tl.load(experts + place, mask=inside, other=0.0).to(ACC)
            passed = tl.sum(term, 0, keep_dims=True).to(to_experts.dtype.element_ty)
            tl.store(to_experts + place, passed, mask=inside)
            product = tl.sum(cotangent * expert, 2)
            to_weights += tl.where(c == seat[:, :, None], product[:, :, None], 0.0)
            place += columns
    share = tl.exp(values - top[:, :, None]) * scale[:, :, None]
    result = share * (to_weights - tl.sum(share * to_weights, 2)[:, :, None])
    at = (m[None, :, None] * gates + g[:, :, None]) * width + c
    fits = real[:, :, None] & (c < width)
    tl.store(to_logits + at, result.to(to_logits.dtype.element_ty), mask=fits)


def forward(
    logits: Tensor, experts: Tensor, tasks: int, private: int, tile: MixTile | None = None
) -> Tensor:
    """[G, M, D] from logits [M, G, C] and experts [M, E, D]."""
    depth = experts.shape[2]
    each = unit(experts)
    experts = _aligned(experts, each)
    rows, count, columns = experts.shape
    gates, width = logits.shape[1:]
    mixed = experts.new_empty(gates, rows, columns)
    sizes = triton.next_power_of_2(gates), triton.next_power_of_2(width)
    tile = mix_tile(FORWARD, *sizes, columns) if tile is None else tile
    if rows:
        with torch.cuda.device_of(experts):
            mix_kernel[(triton.cdiv(rows, tile.rows), triton.cdiv(columns, tile.columns))](
                logits.contiguous(),
                experts,
                mixed,
                rows,
                count,
                columns // each,
                gates,
                width,
                tasks,
                max(private, 1),
                UNIT=each,
                SOME=tasks > 0,
                ACC=accumulator(experts),
                G=sizes[0],
                C=sizes[1],
                BM=tile.rows,
                BD=tile.columns,
                num_warps=tile.warps,
            )
    return mixed[..., :depth].contiguous()


def backward(
    grad: Tensor,
    logits: Tensor,
    experts: Tensor,
    tasks: int,
    private: int,
    tile: MixTile | None = None,
) -> tuple[Tensor, Tensor]:
    """Gradients of logits and experts, for grad [G, M, D]."""
    depth = experts.shape[2]
    each = unit(experts)
    grad, experts = _aligned(grad, each), _aligned(experts, each)
    rows, count, columns = experts.shape
    gates, width = logits.shape[1:]
    to_logits, to_experts = logits.new_empty(logits.shape), torch.empty_like(experts)
    sizes = triton.next_power_of_2(gates), triton.next_power_of_2(width)
    tile = mix_tile(BACKWARD, *sizes, columns) if tile is None else tile
    if rows:
        with torch.cuda.device_of(experts):
            mix_backward_kernel[(triton.cdiv(rows, tile.rows),)](
                grad,
                logits.contiguous(),
                experts,
                to_logits,
                to_experts,
                rows,
                count,
                columns // each,
                gates,
                width,
                tasks,
                max(private, 1),
                UNIT=each,
                SOME=tasks > 0,
                ACC=accumulator(experts),
                G=sizes[0],
                C=sizes[1],
                BM=tile.rows,
                BD=tile.columns,
                num_warps=tile.warps,
            )
    return to_logits, to_experts[..., :depth].contiguous()


def _aligned(x: Tensor, multiple: int) -> Tensor:
    """Contiguous, with zeros behind columns that do not fill whole vectors."""
    more = -x.shape[2] % multiple
    return F.pad(x, (0, more)) if more else x.contiguous()
