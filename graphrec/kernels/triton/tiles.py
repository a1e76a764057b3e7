"""Tile sizes, as data: chosen so that the compiler spills no register, not yet timed on a GPU."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FORWARD", "SLOPE", "Tile", "forward_tile", "slope_tile"]


class Tile(NamedTuple):
    """One program's share: rows x columns of the output, `depth` of the sum at a time."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


FORWARD: dict[int, tuple[tuple[int, int, Tile], ...]] = {
    # bytes of an element: (up to so many rows, up to so many columns, tile), the first that fits
    2: (
        (64, 1 << 30, Tile(16, 64, 64, 4, 4)),
        (1 << 30, 32, Tile(128, 32, 64, 4, 4)),
        (1 << 30, 64, Tile(128, 64, 64, 4, 4)),
        (1 << 14, 1 << 30, Tile(64, 128, 64, 4, 4)),
        (1 << 30, 1 << 30, Tile(128, 128, 64, 8, 3)),
    ),
    4: (
        (64, 1 << 30, Tile(16, 64, 32, 4, 4)),
        (1 << 30, 32, Tile(64, 32, 32, 4, 4)),
        (1 << 30, 1 << 30, Tile(64, 64, 32, 4, 4)),
    ),
}
SLOPE: dict[int, Tile] = {
    2: Tile(32, 128, 0, 4, 1),
    4: Tile(32, 64, 0, 4, 1),
}
SMALL = Tile(32, 32, 32, 4, 1)
"""In the interpreter, where small tensors must fill several tiles; and for what has no entry."""


def forward_tile(rows: int, columns: int, itemsize: int) -> Tile:
    """The tile of the forward kernel for an output of rows x columns."""
    for most_rows, most_columns, tile in FORWARD.get(itemsize, ()):
        if rows <= most_rows and columns <= most_columns:
            return tile
    return SMALL


def slope_tile(itemsize: int) -> Tile:
    """The tile of the backward kernel; its depth is not used."""
    return SLOPE.get(itemsize, SMALL)
