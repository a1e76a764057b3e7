"""Elementwise work around matrix products in single passes over memory, in C++; see passes.cpp."""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor

from graphrec.nn.native.compiled import library

__all__ = ["Passes", "passes"]


class Passes:
    """Passes over contiguous tensors in CPU memory."""

    def __init__(self, found: ctypes.CDLL) -> None:
        pointer, size, count = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
        self._rectify = found.graphrec_rectify
        self._rectify.argtypes = [pointer, size, pointer, count, size, size, *[pointer] * 3, count]
        self._pairs = found.graphrec_pairs
        self._pairs.argtypes = [pointer, *[size] * 4, pointer, pointer, count]
        self._pairs_backward = found.graphrec_pairs_backward
        self._pairs_backward.argtypes = [
            pointer,
            size,
            pointer,
            pointer,
            *[size] * 3,
            pointer,
            count,
        ]
        for one in (self._rectify, self._pairs, self._pairs_backward):
            one.restype = None

    def rectify(
        self, grad: Tensor, out: Tensor, *, turned: bool, bias: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The gradient before a rectifier that gave `out`, both [M, N] in float32 or bfloat16.

        Also its transpose [N, M] if `turned`, and the float32 sums of its columns if `bias`.
        `out` is contiguous, `grad` may be of any strides.
        """
        rows, columns = grad.shape
        if grad.stride(1) != 1:
            grad = grad.contiguous()
        masked = torch.empty_like(out)
        across = torch.empty(columns, rows, dtype=out.dtype) if turned else None
        sums = torch.empty(columns) if bias else None
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
            torch.get_num_threads(),
        )
        return masked, across, sums

    def pairs(self, fields: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over pairs of fields i < j of v_i v_j, and the sum of all v: [B, D] each.

        `fields` is [B, N, D] in float32, contiguous but for the step from row to row.
        """
        rows, count, dim = fields.shape
        found, total = torch.empty(rows, dim), torch.empty(rows, dim)
        self._pairs(
            *(fields.data_ptr(), fields.stride(0), rows, count, dim),
            *(found.data_ptr(), total.data_ptr(), torch.get_num_threads()),
        )
        return found, total

    def pairs_backward(self, fields: Tensor, total: Tensor, grad: Tensor) -> Tensor:
        """The gradient of `pairs` by its fields, [B, N, D]; `total` and `grad` are [B, D]."""
        rows, count, dim = fields.shape
        found = torch.empty(rows, count, dim)
        self._pairs_backward(
            *(fields.data_ptr(), fields.stride(0), total.data_ptr(), grad.data_ptr()),
            *(rows, count, dim, found.data_ptr(), torch.get_num_threads()),
        )
        return found


@cache
def passes() -> Passes | None:
    """The passes, or None where nothing can be compiled: torch's operators do the same."""
    found = library()
    return None if isinstance(found, str) else Passes(found)
