"""Tile sizes of the kernels over histories, as data: not yet timed on a GPU.

None spills registers at the widest layer of its entry. Between them some are known to, by up to 230
bytes: attention in exact fp32, where D and H differ.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from graphrec.kernels.triton.launchers import interpreted, precision

__all__ = [
    "SMALL",
    "TILES",
    "SegmentTile",
    "filled",
    "rows_of_program",
    "segment_tile",
]


class SegmentTile(NamedTuple):
    """A program's share: `steps` of its rows at a time, `columns` wide, `depth` of a sum.

    Where the widths of the layer say how wide, `columns` and `depth` are 0. A `careful` program
    keeps NaN within rows from the start: a second loop for that would cost it registers.
    """

    steps: int
    columns: int
    depth: int
    warps: int
    stages: int
    careful: bool = False


TILES: dict[tuple[str, str], SegmentTile] = {
    # (kernel, how it multiplies): bf16 and fp16, fp32 in tf32, fp32 as it is
    ("attention", "half"): SegmentTile(64, 0, 0, 8, 2),
    ("attention", "tf32"): SegmentTile(32, 0, 0, 8, 2),
    ("attention", "ieee"): SegmentTile(16, 0, 0, 8, 2),
    ("attention_backward", "half"): SegmentTile(16, 0, 0, 4, 2),
    ("attention_backward", "tf32"): SegmentTile(16, 0, 0, 8, 2),
    ("attention_backward", "ieee"): SegmentTile(16, 0, 0, 8, 1, careful=True),
    ("step", "half"): SegmentTile(128, 64, 32, 4, 3),
    ("step", "tf32"): SegmentTile(64, 64, 32, 4, 3),
    ("step", "ieee"): SegmentTile(64, 64, 16, 8, 2),
    ("step_inputs", "half"): SegmentTile(64, 64, 32, 8, 3),
    ("step_inputs", "tf32"): SegmentTile(64, 64, 32, 8, 3),
    ("step_inputs", "ieee"): SegmentTile(32, 64, 16, 8, 2),
    ("step_weights", "half"): SegmentTile(64, 64, 64, 4, 3),
    ("step_weights", "tf32"): SegmentTile(32, 64, 64, 4, 3),
    ("step_weights", "ieee"): SegmentTile(16, 64, 32, 8, 2),
    ("softmax", "half"): SegmentTile(64, 64, 0, 4, 3),
    ("softmax", "tf32"): SegmentTile(64, 64, 0, 4, 3),
    ("softmax", "ieee"): SegmentTile(32, 64, 0, 4, 2),
    ("softmax_backward", "half"): SegmentTile(32, 64, 0, 4, 2),
    ("softmax_backward", "tf32"): SegmentTile(32, 64, 0, 4, 2),
    ("softmax_backward", "ieee"): SegmentTile(32, 64, 0, 4, 2),
    ("sum", "half"): SegmentTile(64, 64, 0, 4, 3),
    ("sum", "tf32"): SegmentTile(64, 64, 0, 4, 3),
    ("sum", "ieee"): SegmentTile(32, 64, 0, 4, 2),
}
"""For `step_weights` the depth is a tile's share of the hidden layer."""
SMALL = SegmentTile(16, 16, 16, 4, 1)
"""In the interpreter, where small tensors must fill several tiles; and for what has no entry."""
_ENOUGH = 512
"""Programs that keep a large GPU busy, about four for each of 132 processors. Small batches have
fewer whatever their rows' length, for no row is split: 16 rows of 2000 steps are 16 programs, which
leave most of the GPU idle."""


def segment_tile(kernel: str, x: Tensor) -> SegmentTile:
    """The tile of a kernel for tensors like `x`."""
    if interpreted():
        return SMALL
    return TILES.get((kernel, "half" if x.element_size() == 2 else precision()), SMALL)


def rows_of_program(rows: int) -> int:
    """Rows that one program takes: 16, the least that a tensor core sums; fewer in small batches.

    Steps of neighbouring rows fill a tile together, so a program wastes half a tile on average, and
    not half a tile for each row. Only where programs would be too few is more waste worth it.
    """
    if interpreted():
        return 5
    return next((n for n in (16, 8, 4, 2) if rows >= n * _ENOUGH), 1)


def filled(matrix: Tensor, columns: int, rows: int | None = None) -> Tensor:
    """The matrix, or a copy with zeros behind and below it where it has fewer columns or rows."""
    behind = columns - matrix.shape[1]
    below = 0 if rows is None else rows - matrix.shape[0]
    return F.pad(matrix, (0, behind, 0, below)) if behind or below else matrix.contiguous()
