"""Tile sizes for experts and their mixing, as data: no spills; not yet timed on a GPU."""

from __future__ import annotations

from typing import NamedTuple

from graphrec.kernels.triton.launchers import interpreted
from graphrec.kernels.triton.tiles import SMALL, Tile, forward_tile

__all__ = ["BACKWARD", "FORWARD", "OTHERWISE", "MixTile", "layer_tile", "mix_tile"]

OTHERWISE = {Tile(64, 128, 64, 4, 4): Tile(64, 128, 64, 8, 3)}
"""Tiles of a linear layer that lack registers for finding an expert's place (on sm_80)."""


class MixTile(NamedTuple):
    """One program's share: rows, and how many columns of them at a time."""

    rows: int
    columns: int
    warps: int


class Share(NamedTuple):
    """What a program may hold: numbers (gates x rows x columns), columns, and its warps."""

    numbers: int
    columns: int
    warps: int


FORWARD = Share(4096, 128, 8)
BACKWARD = Share(2048, 128, 8)
_SMALL = MixTile(4, 16, 4)
"""In the interpreter, where small tensors must fill several tiles."""


def mix_tile(share: Share, gates: int, seats: int, columns: int) -> MixTile:
    """The tile for so many gates and logits each (powers of two) and columns of an expert."""
    if interpreted():
        return _SMALL
    wide = share.columns
    while wide // 2 >= max(columns, 16):
        wide //= 2
    rows = max(share.numbers // (gates * max(wide, seats)), 1)
    return MixTile(min(rows, 64), wide, share.warps)


def layer_tile(rows: int, columns: int, itemsize: int, experts: int) -> Tile:
    """The tile of a layer of so many experts with rows x columns of output each."""
    if interpreted():
        return SMALL
    tile = forward_tile(rows, columns, itemsize, experts)
    return OTHERWISE.get(tile, tile)
