"""The norm of many tensors together in one pass over them, in C++; see norm.cpp."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache

from torch import Tensor

from graphrec.nn.native.adam import fits
from graphrec.nn.native.compiled import library, threads_for

__all__ = ["NormKernel", "norm_kernel"]


class NormKernel:
    """Squares are summed in double precision, in a fixed order."""

    def __init__(self, loaded: ctypes.CDLL) -> None:
        self._norm = loaded.graphrec_norm
        pointer, size, count = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
        self._norm.argtypes = [pointer, pointer, size, count]
        self._norm.restype = ctypes.c_double

    def norm(self, tensors: Sequence[Tensor]) -> float | None:
        """The Euclidean norm of all numbers; None for others than float32 without gaps on a CPU."""
        if not all(fits(tensor) for tensor in tensors):
            return None
        sizes = [tensor.numel() for tensor in tensors]
        total: float = self._norm(
            (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors)),
            (ctypes.c_int64 * len(tensors))(*sizes),
            len(tensors),
            threads_for(sum(sizes)),
        )
        return total


@cache
def norm_kernel() -> NormKernel | None:
    """The kernel, or None where nothing can be compiled."""
    library_or_why = library()
    return None if isinstance(library_or_why, str) else NormKernel(library_or_why)
