"""Tile sizes of attention among the steps of a row, as data: not yet timed on a GPU.

None spills registers at the widest head of its entry. Between them some are known to, by up to 32
bytes: the gradient in exact fp32 with narrow heads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graphrec.kernels.triton.launchers import interpreted, precision

__all__ = ["TILES", "PairTile", "pair_tile"]


class PairTile(NamedTuple):
    """A program's share: `own` steps, which it meets with `others` at a time."""

    own: int
    others: int
    warps: int
    stages: int


TILES: dict[tuple[str, str, int], PairTile] = {
    # (kernel, how it multiplies, widest head): bf16 and fp16, fp32 in tf32, fp32 as it is
    ("forward", "half", 64): PairTile(64, 64, 4, 2),
    ("forward", "half", 128): PairTile(64, 32, 4, 2),
    ("forward", "tf32", 64): PairTile(64, 32, 8, 2),
    ("forward", "tf32", 128): PairTile(64, 32, 8, 2),
    ("forward", "ieee", 64): PairTile(32, 32, 8, 2),
    ("forward", "ieee", 128): PairTile(16, 32, 8, 2),
    ("queries", "half", 64): PairTile(64, 32, 4, 2),
    ("queries", "half", 128): PairTile(64, 32, 8, 2),
    ("queries", "tf32", 64): PairTile(64, 32, 8, 2),
    ("queries", "tf32", 128): PairTile(64, 16, 8, 2),
    ("queries", "ieee", 64): PairTile(32, 32, 8, 2),
    ("queries", "ieee", 128): PairTile(16, 16, 8, 2),
    ("keys", "half", 64): PairTile(64, 32, 4, 2),
    ("keys", "half", 128): PairTile(64, 32, 8, 2),
    ("keys", "tf32", 64): PairTile(32, 32, 8, 2),
    ("keys", "tf32", 128): PairTile(32, 32, 8, 2),
    ("keys", "ieee", 64): PairTile(32, 32, 8, 2),
    ("keys", "ieee", 128): PairTile(32, 16, 8, 2),
}
_SMALL = PairTile(16, 16, 4, 1)
"""In the interpreter, where small tensors must fill several tiles."""


def pair_tile(kernel: str, x: Tensor, head: int) -> PairTile:
    """The tile of a kernel for tensors like `x` with heads of that width, at most 128."""
    if interpreted():
        return _SMALL
    how = precision() if x.dtype == torch.float32 else "half"
    return TILES[kernel, how, 64 if head <= 64 else 128]
