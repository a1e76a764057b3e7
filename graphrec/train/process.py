"""What a process that trains sets for itself: how idle threads wait, and that freed memory stays.

Both are of the whole process, so only its owner may set them: the trainer and the command line do,
importing graphrec does not. No torch here: the first must be said before torch is loaded.
"""

from __future__ import annotations

import ctypes
import os
import platform

__all__ = ["keep_freed_memory", "prepare_process", "share_the_cores"]

_TRIM, _PAD, _MAP = -1, -2, -3  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD of malloc.h
_KEPT = 1 << 30
"""Free bytes at the top of the heap from which some are given back."""
_MAPPED = 1 << 25
"""Size from which blocks are mapped and given back one by one, as tables are; glibc's limit."""


def prepare_process() -> None:
    """For a process that is graphrec's own: call it before torch is loaded."""
    share_the_cores()
    keep_freed_memory()


def share_the_cores() -> None:
    """Let idle OpenMP threads sleep after a moment.

    Spinning ones starve the reader thread and other programs; to fall asleep at once makes each of
    a step's hundred operations wait for the others to wake up. OpenMP reads this once, when torch
    is loaded; whoever set one of the variables keeps their choice.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep what is freed, up to a gigabyte; whether that was done.

    A training step then finds its pages where it left them. glibc gives large blocks back to the
    system when they are freed and at the top of the heap. Every step of a model frees some hundred
    megabytes and asks for them again; the system then hands out each page anew, filled with zeros,
    which took a sixth to a third of a step where it was measured.

    GRAPHREC_MALLOC=0 leaves malloc as it is, and so do settings of its own in the environment.
    """
    own = any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ
    if own or os.environ.get("GRAPHREC_MALLOC") == "0" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = {_MAP: _MAPPED, _TRIM: _KEPT, _PAD: 1 << 26}
    done = [mallopt(name, value) for name, value in wanted.items()]
    return all(done)
