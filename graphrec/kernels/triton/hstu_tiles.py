"""Tile sizes of HSTU's attention, as data: not yet timed on a GPU.

None spills registers at the widest head of its entry, with both biases, on sm_80 and sm_90. Between
them some are known to: by up to 24 bytes with heads of 25.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphrec.kernels.triton.jagged_attention_tiles import PairTile
from graphrec.kernels.triton.launchers import interpreted, precision

__all__ = ["TILES", "hstu_tile"]

TILES: dict[tuple[str, str, int], PairTile] = {
    # (kernel, how it multiplies, widest head): bf16 and fp16, fp32 in tf32, fp32 as it is
    ("forward", "half", 64): PairTile(64, 32, 4, 2),
    ("forward", "half", 128): PairTile(32, 32, 8, 2),
    ("forward", "tf32", 64): PairTile(64, 32, 8, 2),
    ("forward", "tf32", 128): PairTile(64, 16, 8, 2),
    ("forward", "ieee", 64): PairTile(32, 32, 8, 2),
    ("forward", "ieee", 128): PairTile(16, 32, 8, 2),
    ("queries", "half", 64): PairTile(32, 16, 4, 2),
    ("queries", "half", 128): PairTile(32, 16, 8, 2),
    ("queries", "tf32", 64): PairTile(32, 32, 8, 2),
    ("queries", "tf32", 128): PairTile(16, 32, 8, 2),
    ("queries", "ieee", 64): PairTile(16, 16, 4, 2),
    ("queries", "ieee", 128): PairTile(16, 16, 8, 1),
    ("keys", "half", 64): PairTile(32, 16, 4, 2),
    ("keys", "half", 128): PairTile(32, 16, 4, 2),
    ("keys", "tf32", 64): PairTile(32, 16, 8, 2),
    ("keys", "tf32", 128): PairTile(16, 16, 4, 2),
    ("keys", "ieee", 64): PairTile(16, 16, 8, 1),
    ("keys", "ieee", 128): PairTile(16, 16, 8, 2),
}
_SMALL = PairTile(16, 16, 4, 1)
"""In the interpreter, where small tensors must fill several tiles."""


def hstu_tile(kernel: str, x: Tensor, head: int) -> PairTile:
    """The tile of a kernel for tensors like `x` with heads (or values) that wide, at most 128."""
    if interpreted():
        return _SMALL
    how = precision() if x.dtype == torch.float32 else "half"
    return TILES[kernel, how, 64 if head <= 64 else 128]
