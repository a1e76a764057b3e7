"""Rows of one packed table, gathered and pooled, with one sparse gradient for all that was read."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from graphrec.nn.native import RowKernel

__all__ = ["ByteRows", "Part", "byte_rows", "gather"]


class ByteRows(NamedTuple):
    """A table [R, dim] of one byte a number: row r is `values[r] * scale[r] + shift[r]`."""

    values: Tensor
    scale: Tensor
    shift: Tensor


def byte_rows(weight: Tensor) -> ByteRows:
    """The table rounded to 256 steps between the least and the largest number of each row."""
    low, high = torch.aminmax(weight.float(), dim=1, keepdim=True)
    scale = (high - low) / 255
    steps = torch.where(scale == 0, 0.0, (weight.float() - low) / scale)
    return ByteRows(steps.round().to(torch.uint8), scale, low)


class Part(NamedTuple):
    """One reading of a packed table: `rows` [N] (int64) give [N, dim].

    With `lengths` [M] the rows are bags, summed to [M, dim], each row times its `scale` [N].
    """

    rows: Tensor
    lengths: Tensor | None = None
    scale: Tensor | None = None


def gather(
    weight: Tensor | ByteRows, parts: list[Part], kernel: RowKernel | None = None
) -> list[Tensor]:
    """Read all `parts` from `weight` [R, dim]; tensors of at least float32, one for each part.

    The gradient of `weight` is one uncoalesced sparse tensor over the rows read, so its cost does
    not depend on R. Exported programs see plain indexing.
    """
    if isinstance(weight, ByteRows):
        return [_read_bytes(weight, part) for part in parts]
    if torch.is_grad_enabled() and weight.requires_grad and not torch.compiler.is_exporting():
        return list(_Gather.apply(weight, parts, kernel))  # type: ignore[no-untyped-call]
    return [_read(weight, part, kernel) for part in parts]


def _read(weight: Tensor, part: Part, kernel: RowKernel | None) -> Tensor:
    if part.lengths is None and kernel is not None:
        return kernel.gather(weight, part.rows)
    if part.lengths is None:
        return _single(functional.embedding(part.rows, weight))
    rows = part.rows
    if _single(weight[:0]).dtype != weight.dtype:
        weight = _read(weight, Part(rows), kernel)
        rows = torch.arange(rows.shape[0], device=rows.device)
    starts = part.lengths.cumsum(0) - part.lengths
    scale = None if part.scale is None else part.scale.to(weight.dtype)
    return functional.embedding_bag(rows, weight, starts, mode="sum", per_sample_weights=scale)


def _read_bytes(table: ByteRows, part: Part) -> Tensor:
    values, scale, shift = (tensor.index_select(0, part.rows) for tensor in table)
    rows = torch.addcmul(shift, values.float(), scale)
    if part.lengths is None:
        return rows
    return _read(rows, part._replace(rows=torch.arange(rows.shape[0], device=rows.device)), None)


def _single(values: Tensor) -> Tensor:
    """At least single precision: a module made `double()` computes in double."""
    return values if values.dtype == torch.float64 else values.float()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, parts: list[Part], kernel: RowKernel | None
    ) -> tuple[Tensor, ...]:
        ctx.parts = parts
        ctx.shape, ctx.dtype = weight.shape, weight.dtype
        return tuple(_read(weight, part, kernel) for part in parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        parts: list[Part] = ctx.parts
        dim = ctx.shape[1]
        if len(parts) == 1 and parts[0].lengths is None:
            rows, values = parts[0].rows, grads[0].contiguous().view(-1, dim)
        else:
            rows = torch.cat([part.rows for part in parts])
            values = grads[0].new_empty(rows.shape[0], dim)
            start = 0
            for part, grad in zip(parts, grads, strict=True):
                stop = start + part.rows.shape[0]
                _spread(part, grad, values[start:stop])
                start = stop
        sparse = torch.sparse_coo_tensor(
            rows[None], values.to(ctx.dtype), ctx.shape, check_invariants=False
        )
        return sparse, None, None


def _spread(part: Part, grad: Tensor, out: Tensor) -> None:
    """Gradient of every row of a part, written to `out` [N, dim]."""
    if part.lengths is None:
        out.copy_(grad)
        return
    bags = torch.arange(part.lengths.shape[0], device=grad.device)
    bags = bags.repeat_interleave(part.lengths, output_size=out.shape[0])
    torch.index_select(grad, 0, bags, out=out)
    if part.scale is not None:
        out.mul_(part.scale[:, None])
