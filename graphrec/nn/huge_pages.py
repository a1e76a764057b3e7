"""Tables lie in huge pages, where Linux has some."""

from __future__ import annotations

import ctypes
import platform

from torch import Tensor

__all__ = ["in_huge_pages"]

_HUGE = 14  # MADV_HUGEPAGE of mman.h
_PAGE = 1 << 12
_LEAST = 1 << 25
"""Bytes from which malloc maps a block of its own, so that no other lies in its pages."""


def in_huge_pages(tensor: Tensor) -> Tensor:
    """The tensor; if it is a large one on a CPU, Linux is asked for huge pages below it.

    For memory that nobody has touched. A row somewhere in a table of gigabytes is then found
    without a walk through page tables; where huge pages are switched off nothing happens.
    """
    size = tensor.numel() * tensor.element_size()
    plain = type(tensor) is Tensor and tensor.device.type == "cpu"
    if not plain or platform.system() != "Linux" or size < _LEAST:
        return tensor
    first = -(-tensor.data_ptr() // _PAGE) * _PAGE
    length = (tensor.data_ptr() + size - first) // _PAGE * _PAGE
    madvise = ctypes.CDLL(None).madvise
    madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), _HUGE)
    return tensor
