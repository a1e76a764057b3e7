"""Tile sizes, as data: chosen so that the compiler spills no register, not yet timed on a GPU."""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "FORWARD",
    "NORM",
    "ROW",
    "SLOPE",
    "SMALL",
    "Tile",
    "forward_tile",
    "norm_tile",
    "row_tile",
    "slope_tile",
    "small_norm_tile",
    "small_row_tile",
]


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
        (1 << 30, 64, Tile(128, 64, 64, 8, 4)),
        (1 << 14, 1 << 30, Tile(64, 128, 64, 4, 4)),
        (1 << 30, 1 << 30, Tile(128, 128, 64, 8, 3)),
    ),
    4: (
        (64, 1 << 30, Tile(16, 64, 32, 4, 4)),
        (1 << 30, 32, Tile(64, 32, 32, 4, 4)),
        (1 << 30, 1 << 30, Tile(64, 64, 32, 4, 4)),
    ),
}
NORM: dict[int, tuple[tuple[int, int, Tile], ...]] = {
    # as FORWARD, but a tile holds all the columns; wider rows take the vendor's GEMM: with 512
    # columns 64 rows spill, and 32 rows read the weights too often and leave wgmma unused
    2: (
        (64, 64, Tile(16, 64, 64, 4, 4)),
        (64, 256, Tile(16, 256, 64, 4, 3)),
        (1 << 30, 64, Tile(128, 64, 64, 4, 4)),
        (1 << 30, 128, Tile(64, 128, 64, 4, 4)),
        (1 << 30, 256, Tile(64, 256, 64, 8, 3)),
    ),
    4: (
        (64, 64, Tile(16, 64, 32, 4, 4)),
        (64, 256, Tile(16, 256, 32, 4, 3)),
        (1 << 30, 64, Tile(64, 64, 32, 4, 4)),
        (1 << 30, 128, Tile(64, 128, 32, 8, 3)),
        (1 << 30, 256, Tile(64, 256, 32, 8, 3)),
    ),
}
SLOPE: dict[int, Tile] = {
    2: Tile(16, 128, 0, 4, 1),
    4: Tile(16, 128, 0, 4, 1),
}
ROW: tuple[Tile, ...] = (
    # for the row kernels, the first whose columns hold the row: 16 elements a thread
    Tile(32, 64, 0, 4, 1),
    Tile(16, 128, 0, 4, 1),
    Tile(8, 256, 0, 4, 1),
    Tile(4, 512, 0, 4, 1),
    Tile(2, 1024, 0, 4, 1),
    Tile(1, 2048, 0, 4, 1),
    Tile(1, 4096, 0, 8, 1),
)
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


def norm_tile(rows: int, columns: int, itemsize: int) -> Tile | None:
    """The tile of a GEMM that ends in a layer norm; None where no tile holds the columns."""
    for most_rows, most_columns, tile in NORM.get(itemsize, ()):
        if rows <= most_rows and columns <= most_columns:
            return tile
    return None


def row_tile(columns: int) -> Tile:
    """The tile of the kernels that hold whole rows; its depth is not used."""
    return next(tile for tile in ROW if columns <= tile.columns)


def small_norm_tile(columns: int) -> Tile | None:
    """In the interpreter: beyond 64 columns there is no tile, so that both ways are tried."""
    return Tile(32, 64 if columns > 32 else 32, 32, 4, 1) if columns <= 64 else None


def small_row_tile(columns: int) -> Tile:
    """In the interpreter: few rows, so that there are several programs."""
    return row_tile(columns)._replace(rows=16)
