"""What the system does with memory: freed blocks stay with the process, tables lie in huge pages.

A training step then finds its pages where it left them. glibc gives large blocks back to the system
when they are freed and at the top of the heap. Every step of a model frees some hundred megabytes
and asks for them again; the system then hands out each page anew, filled with zeros, which took a
sixth to a third of a step where it was measured.
"""

from __future__ import annotations

import ctypes
import os
import platform

from torch import Tensor

__all__ = ["in_huge_pages", "keep_freed_memory"]

_TRIM, _PAD, _MAP = -1, -2, -3  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD of malloc.h
_HUGE = 14  # MADV_HUGEPAGE of mman.h
_PAGE = 1 << 12
_KEPT = 1 << 30
"""Free bytes at the top of the heap from which some are given back."""
_MAPPED = 1 << 25
"""Size from which blocks are mapped and given back one by one, as tables are; glibc's limit."""


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep what is freed, up to a gigabyte; whether that was done.

    GRAPHREC_MALLOC=0 leaves malloc as it is, and so do settings of its own in the environment.
    """
    own = any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ
    if own or os.environ.get("GRAPHREC_MALLOC") == "0" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = {_MAP: _MAPPED, _TRIM: _KEPT, _PAD: 1 << 26}
    done = [mallopt(name, value) for name, value in wanted.items()]
    return all(done)


def in_huge_pages(tensor: Tensor) -> Tensor:
    """The tensor; if it is a large one on a CPU, Linux is asked for huge pages below it.

    For memory that nobody has touched. A row somewhere in a table of gigabytes is then found
    without a walk through page tables; where huge pages are switched off nothing happens.
    """
    size = tensor.numel() * tensor.element_size()
    plain = type(tensor) is Tensor and tensor.device.type == "cpu"
    if not plain or platform.system() != "Linux" or size < _MAPPED:
        return tensor
    first = -(-tensor.data_ptr() // _PAGE) * _PAGE
    length = (tensor.data_ptr() + size - first) // _PAGE * _PAGE
    madvise = ctypes.CDLL(None).madvise
    madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), _HUGE)
    return tensor
