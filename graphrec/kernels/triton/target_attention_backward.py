"""Triton: the gradient of `target_attention`, all of it in one kernel."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphrec.kernels.triton.activations import activate, activation_backward
from graphrec.kernels.triton.attention_rows import (
    FEW,
    ROWS,
    any_nan,
    place,
    program_rows,
    row_sums,
    value_of_row,
)
from graphrec.kernels.triton.attention_tiles import (
    SegmentTile,
    filled,
    rows_of_program,
    segment_tile,
)
from graphrec.kernels.triton.launchers import wide
from graphrec.kernels.triton.target_attention import hidden_layer, padded, scorer, settings

__all__ = ["backward"]

_MOST_PROGRAMS = 264
"""Partial sums of the weights' gradients; a constant, so that no result depends on the GPU's size.
Two programs for each of an H100's 132 processors: in half precision, with 4 warps and at most 255
registers, two run there at a time; in fp32, with 8 warps, one, and the others follow."""


@triton.jit
def hidden_grad_of(ds, z, y, to_score, ACT: tl.constexpr):
    """The gradient before the activation: of the scores' ds, for y = ACT(z)."""
    dz = ds[:, None] * to_score[None, :]
    if ACT == "silu" or ACT == "gelu":
        dz = activation_backward(dz, z, ACT)
    elif ACT != "none":
        dz = activation_backward(dz, y, ACT)
    return dz


# fmt: off
@triton.jit
def gradients_of_rows(
    grad, query, part, keys, keys_grad, hidden_grad, to_keys, to_product, to_score, bias,
    log_whole, delta, begin, end, high,
    D: tl.constexpr, H: tl.constexpr, BD: tl.constexpr, BH: tl.constexpr, ACT: tl.constexpr,
    ACC: tl.constexpr, PRECISION: tl.constexpr, BT: tl.constexpr, CAREFUL: tl.constexpr,
    STORE: tl.constexpr,
):
    """Gradients of 16 rows' query, part and scorer; those of their steps go to memory if STORE."""
    TYPE: tl.constexpr = keys.dtype.element_ty
    d, h = tl.arange(0, BD), tl.arange(0, BH)
    in_d, in_h = d < D, h < H
    dq, dpart = tl.zeros((ROWS, BD), ACC), tl.zeros((ROWS, BH), ACC)
    out_sum = tl.zeros((BH,), ACC)
    for start in range(0, high, BT):
        step = start + tl.arange(0, BT)
        here = step < high
        inside, local = place(step, begin, end)
        at_k, k_mask = step[:, None] * D + d[None, :], here[:, None] & in_d[None, :]
        k = tl.load(keys + at_k, mask=k_mask, other=0.0)
        q, z = hidden_layer(query, part, k, local, here,
                            to_keys, to_product, D, H, BD, BH, ACC, PRECISION)
        y = activate(z, ACT)
        scores = tl.sum(y * to_score[None, :], 1) + bias
        p = tl.where(here, tl.exp(scores - value_of_row(inside, log_whole)), 0.0)
        g = tl.load(grad + local[:, None] * D + d[None, :], mask=k_mask, other=0.0).to(ACC)
        ds = p * (tl.sum(k.to(ACC) * g, 1) - value_of_row(inside, delta))
        out_sum += tl.sum(ds[:, None] * y, 0)
        dz = hidden_grad_of(ds, z, y, to_score, ACT).to(TYPE)
        dpart = row_sums(inside, inside, dz, dpart, TYPE, ACC, PRECISION, CAREFUL)
        u = tl.dot(dz, tl.trans(to_product), input_precision=PRECISION, out_dtype=ACC)
        if STORE:
            at_z, z_mask = step[:, None] * H + h[None, :], here[:, None] & in_h[None, :]
            tl.store(hidden_grad + at_z, dz, mask=z_mask)
            dk = p[:, None] * g + q * u
            dk = tl.dot(dz, tl.trans(to_keys), dk, input_precision=PRECISION, out_dtype=ACC)
            tl.store(keys_grad + at_k, dk.to(TYPE), mask=k_mask)
        dq = row_sums(inside, inside, k.to(ACC) * u, dq, TYPE, ACC, PRECISION, CAREFUL)
    return dq, dpart, out_sum


@triton.jit(do_not_specialize=["rows"])
def attention_backward_kernel(
    grad, query, part, keys, offsets, of_keys, of_product, out_weight, out_bias, out, norm,
    query_grad, part_grad, keys_grad, hidden_grad, out_sums, rows,
    D: tl.constexpr, H: tl.constexpr, BD: tl.constexpr, BH: tl.constexpr, ACT: tl.constexpr,
    TAKES: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr, BT: tl.constexpr,
    CAREFUL: tl.constexpr,
):
    """Gradients of query, part and keys, and this program's share of those of the weights."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    d, h = tl.arange(0, BD), tl.arange(0, BH)
    in_d, in_h = d < D, h < H
    to_keys, to_product, to_score, bias = scorer(
        of_keys, of_product, out_weight, out_bias, D, H, BD, BH, ACC
    )
    out_sum = tl.zeros((BH,), ACC)
    row = tl.arange(0, ROWS)
    for block in range(program, tl.cdiv(rows, TAKES), programs):
        first, count, begin, end, low, high = program_rows(offsets, block, rows, TAKES)
        at_q, at_part, real = first * D, first * H, row < count
        at_d, d_mask = row[:, None] * D + d[None, :], real[:, None] & in_d[None, :]
        at_h, h_mask = row[:, None] * H + h[None, :], real[:, None] & in_h[None, :]
        g_row = tl.load(grad + at_q + at_d, mask=d_mask, other=0.0).to(ACC)
        delta = tl.sum(g_row * tl.load(out + at_q + at_d, mask=d_mask, other=0.0).to(ACC), 1)
        log_whole = tl.load(norm + first + row, mask=real, other=0.0).to(ACC)
        dq, dpart, more = gradients_of_rows(
            grad + at_q, query + at_q, part + at_part, keys + low * D, keys_grad + low * D,
            hidden_grad + low * H, to_keys, to_product, to_score, bias, log_whole, delta,
            begin, end, high, D, H, BD, BH, ACT, ACC, PRECISION, BT, CAREFUL, True)
        out_sum += more
        if CAREFUL:
            pass
        elif any_nan(dq) | any_nan(dpart):
            dq, dpart, _ = gradients_of_rows(
                grad + at_q, query + at_q, part + at_part, keys + low * D, keys_grad + low * D,
                hidden_grad + low * H, to_keys, to_product, to_score, bias, log_whole, delta,
                begin, end, high, D, H, BD, BH, ACT, ACC, PRECISION, FEW, True, False)
        tl.store(query_grad + at_q + at_d, dq.to(query_grad.dtype.element_ty), mask=d_mask)
        tl.store(part_grad + at_part + at_h, dpart.to(part_grad.dtype.element_ty), mask=h_mask)
    tl.store(out_sums + program * H + h, out_sum, mask=in_h)
# fmt: on


def backward(
    grad: Tensor,
    query: Tensor,
    part: Tensor,
    keys: Tensor,
    offsets: Tensor,
    of_keys: Tensor,
    of_product: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    out: Tensor,
    norm: Tensor,
    act: str,
    tile: SegmentTile | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, part, keys, the hidden layer of each step, and out_weight.

    The fourth, [T, H] with H padded to a multiple of 16 bytes, times keys and products gives the
    gradients of the first layer's weights: sums over all steps, which no program here has.
    """
    rows, width, hidden = query.shape[0], query.shape[1], part.shape[1]
    inputs = padded(query, part, keys, offsets, of_keys, of_product, out_weight, out_bias)
    query, part, keys = inputs[:3]
    tile = tile or segment_tile("attention_backward", keys)
    takes = rows_of_program(rows)
    programs = min(triton.cdiv(rows, takes), _MOST_PROGRAMS)
    grads = [torch.empty_like(x) for x in (query, part, keys)]
    dz = keys.new_empty(keys.shape[0], part.shape[1])
    sums = keys.new_empty(programs, part.shape[1], dtype=wide(keys))
    if rows:
        with torch.cuda.device_of(keys):
            attention_backward_kernel[(programs,)](
                filled(grad, query.shape[1]),
                *inputs,
                filled(out, query.shape[1]),
                norm,
                *grads,
                dz,
                sums,
                rows,
                ACT=act,
                TAKES=takes,
                CAREFUL=tile.careful,
                **settings(inputs, tile),
            )
    widths = (width, hidden, width)
    dq, dpart, dk = (x[:, :real].contiguous() for x, real in zip(grads, widths, strict=True))
    return dq, dpart, dk, dz, sums.sum(0).to(keys.dtype)[:hidden].contiguous()
