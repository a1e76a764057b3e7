"""Elementwise work around matrix products in single passes over memory, in C++; see passes.cpp."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from graphrec.nn.native.compiled import library, threads_for

__all__ = ["Passes", "passes"]


class Passes:
    """Passes over contiguous tensors in CPU memory."""

    def __init__(self, loaded: ctypes.CDLL) -> None:
        pointer, size, count = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
        self._rectify = loaded.graphrec_rectify
        self._rectify.argtypes = [pointer, size, pointer, count, size, size, *[pointer] * 3, count]
        self._pairs = loaded.graphrec_pairs
        self._pairs.argtypes = [pointer, *[size] * 4, pointer, pointer, count]
        self._pairs_backward = loaded.graphrec_pairs_backward
        shape = (size, size, size)
        self._pairs_backward.argtypes = [pointer, size, pointer, pointer, *shape, pointer, count]
        self._mix, self._unmix = loaded.graphrec_mix, loaded.graphrec_unmix
        mixed = (pointer, pointer, size, count, size, size, pointer, size)
        self._mix.argtypes = (*mixed, count)
        self._unmix.argtypes = (*mixed, pointer, pointer, count)
        for one in (self._rectify, self._pairs, self._pairs_backward, self._mix, self._unmix):
            one.restype = None

    def rectify(
        self, grad: Tensor, out: Tensor, *, transposed: bool, bias: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The gradient before a rectifier that gave `out`, both [M, N] in float32 or bfloat16.

        Also its transpose [N, M] if `transposed`, and the float32 sums of its columns if `bias`.
        `out` is contiguous, `grad` may be of any strides.
        """
        rows, columns = grad.shape
        if grad.stride(1) != 1:
            grad = grad.contiguous()
        masked = torch.empty_like(out)
        across = out.new_empty(columns, rows) if transposed else None
        sums = out.new_empty(columns, dtype=torch.float32) if bias else None
        self._rectify(
            grad.data_ptr(),
            grad.stride(0),
            out.data_ptr(),
            out.dtype == torch.bfloat16,
            rows,
            columns,
            masked.data_ptr(),
            None if across is None else across.data_ptr(),
            None if sums is None else sums.data_ptr(),
            threads_for(out.numel()),
        )
        return masked, across, sums

    def pairs(self, fields: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over pairs of fields i < j of v_i v_j, and the sum of all v: [B, D] each.

        `fields` is [B, N, D] in float32, contiguous but for the step from row to row.
        """
        rows, count, dim = fields.shape
        pair_sum, total = fields.new_empty(rows, dim), fields.new_empty(rows, dim)
        self._pairs(
            *(fields.data_ptr(), fields.stride(0), rows, count, dim),
            *(pair_sum.data_ptr(), total.data_ptr(), threads_for(fields.numel())),
        )
        return pair_sum, total

    def pairs_backward(self, fields: Tensor, total: Tensor, grad: Tensor) -> Tensor:
        """The gradient of `pairs` by its fields, [B, N, D]; `total` and `grad` are [B, D]."""
        rows, count, dim = fields.shape
        to_fields = fields.new_empty(rows, count, dim)
        self._pairs_backward(
            *(fields.data_ptr(), fields.stride(0), total.data_ptr(), grad.data_ptr()),
            *(rows, count, dim, to_fields.data_ptr(), threads_for(fields.numel())),
        )
        return to_fields

    def mix(self, weights: Tensor, experts: Sequence[Tensor]) -> list[Tensor]:
        """Sums of the experts [B, D] by each gate's weights: [B, T, K] to T times [B, D].

        Weights are float32, experts and sums all that or all bfloat16, without gaps in a row.
        """
        _, gates, count = weights.shape
        outs = [experts[0].new_empty(experts[0].shape) for _ in range(gates)]
        self._mix(
            *(weights.contiguous().data_ptr(), _matrices(experts), count),
            *(experts[0].dtype == torch.bfloat16, *experts[0].shape),
            *(_pointers(outs), gates, threads_for(count * experts[0].numel())),
        )
        return outs

    def unmix(
        self, weights: Tensor, experts: Sequence[Tensor], grads: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """The gradients of `mix` by its weights, [B, T, K], and by each expert."""
        weights = weights.contiguous()
        grads = [grad if grad.stride(1) == 1 else grad.contiguous() for grad in grads]
        of_weights = torch.empty_like(weights)
        of_experts = [torch.empty_like(e, memory_format=torch.contiguous_format) for e in experts]
        self._unmix(
            *(weights.data_ptr(), _matrices(experts), len(experts)),
            *(experts[0].dtype == torch.bfloat16, *experts[0].shape),
            *(_matrices(grads), len(grads), _pointers(of_experts)),
            *(of_weights.data_ptr(), threads_for(len(experts) * experts[0].numel())),
        )
        return of_weights, of_experts


class _Matrix(ctypes.Structure):
    """As in passes.cpp."""

    _fields_: ClassVar = [("data", ctypes.c_void_p), ("step", ctypes.c_int64)]


def _matrices(given: Sequence[Tensor]) -> Any:
    return (_Matrix * len(given))(*(_Matrix(one.data_ptr(), one.stride(0)) for one in given))


def _pointers(given: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * len(given))(*(one.data_ptr() for one in given))


@cache
def passes() -> Passes | None:
    """The passes, or None where nothing can be compiled: torch's operators do the same."""
    library_or_why = library()
    return None if isinstance(library_or_why, str) else Passes(library_or_why)
