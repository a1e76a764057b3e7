"""Tile sizes, as data: chosen so that the compiler spills no register, not yet timed on a GPU."""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "ENOUGH",
    "FORWARD",
    "NORM",
    "ROW",
    "SCALE",
    "SLOPE",
    "SMALL",
    "Table",
    "Tile",
    "every_tile",
    "forward_tile",
    "norm_tile",
    "row_tile",
    "scale_tile",
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


Table = dict[int, tuple[tuple[int, tuple[Tile, ...]], ...]]
"""Bytes of an element: (up to so many columns, tiles from the largest to the smallest)."""
ENOUGH = 128
"""Programs that keep a large GPU busy: an H100 has 132 processors, an A100 108. A constant, so that
no result depends on the GPU, and not 132, for which a batch of 2^n rows would be cut once more."""
ANY = 1 << 30
FORWARD: Table = {
    2: (
        (32, (Tile(128, 32, 64, 4, 4), Tile(64, 32, 64, 4, 4), Tile(16, 64, 64, 4, 4))),
        (64, (Tile(128, 64, 64, 8, 4), Tile(64, 64, 64, 4, 4), Tile(16, 64, 64, 4, 4))),
        (
            ANY,
            (
                Tile(128, 128, 64, 8, 3),
                Tile(64, 128, 64, 4, 4),
                Tile(64, 64, 64, 4, 4),
                Tile(16, 64, 64, 4, 4),
            ),
        ),
    ),
    4: (
        (32, (Tile(64, 32, 32, 4, 4), Tile(16, 64, 32, 4, 4))),
        (64, (Tile(64, 64, 32, 4, 4), Tile(16, 64, 32, 4, 4))),
        (ANY, (Tile(128, 128, 32, 8, 3), Tile(64, 64, 32, 4, 4), Tile(16, 64, 32, 4, 4))),
    ),
}
SCALE = {Tile(128, 128, 32, 8, 3): Tile(128, 64, 32, 8, 3)}
"""Tiles that lack registers for an epilogue that reads matrices (on sm_80)."""
NORM: Table = {
    # a tile holds all the columns; wider rows take the vendor's GEMM: with 512 columns 64 rows
    # spill, and 32 rows read the weights too often and leave wgmma unused
    2: (
        (64, (Tile(128, 64, 64, 4, 4), Tile(64, 64, 64, 4, 4), Tile(16, 64, 64, 4, 4))),
        (128, (Tile(64, 128, 64, 4, 4), Tile(16, 128, 64, 4, 4))),
        (256, (Tile(64, 256, 64, 8, 3), Tile(32, 256, 64, 8, 3), Tile(16, 256, 64, 4, 3))),
    ),
    4: (
        (64, (Tile(64, 64, 32, 4, 4), Tile(16, 64, 32, 4, 4))),
        (128, (Tile(64, 128, 32, 8, 3), Tile(16, 128, 32, 4, 3))),
        (256, (Tile(64, 256, 32, 8, 3), Tile(16, 256, 32, 4, 3))),
    ),
}
SLOPE: dict[int, Tile] = {
    2: Tile(16, 128, 0, 8, 1),
    4: Tile(16, 128, 0, 8, 1),
}
ROW: tuple[Tile, ...] = (
    # for the row kernels, the first whose columns hold the row: 8 or 16 elements a thread
    Tile(32, 64, 0, 4, 1),
    Tile(16, 128, 0, 4, 1),
    Tile(8, 256, 0, 4, 1),
    Tile(4, 512, 0, 4, 1),
    Tile(2, 1024, 0, 8, 1),
    Tile(1, 2048, 0, 4, 1),
    Tile(1, 4096, 0, 8, 1),
)
SMALL = Tile(32, 32, 32, 4, 1)
"""In the interpreter, where small tensors must fill several tiles; and for what has no entry."""


def forward_tile(rows: int, columns: int, itemsize: int, times: int = 1) -> Tile:
    """The tile of the forward kernel for an output of rows x columns, `times` over."""
    return _enough(FORWARD, rows, columns, itemsize, times) or SMALL


def scale_tile(rows: int, columns: int, itemsize: int) -> Tile:
    """The same for an epilogue that reads a factor and a skip."""
    tile = forward_tile(rows, columns, itemsize)
    return SCALE.get(tile, tile)


def slope_tile(itemsize: int) -> Tile:
    """The tile of the backward kernel; its depth is not used."""
    return SLOPE.get(itemsize, SMALL)


def norm_tile(rows: int, columns: int, itemsize: int) -> Tile | None:
    """The tile of a GEMM that ends in a layer norm; None where no tile holds the columns."""
    return _enough(NORM, rows, columns, itemsize, 1)


def every_tile(table: Table, itemsize: int) -> list[Tile]:
    """The tiles of a table for elements of so many bytes, sorted."""
    return sorted({tile for _, tiles in table[itemsize] for tile in tiles})


def row_tile(columns: int) -> Tile:
    """The tile of the kernels that hold whole rows; its depth is not used."""
    return next(tile for tile in ROW if columns <= tile.columns)


def small_norm_tile(columns: int) -> Tile | None:
    """In the interpreter: beyond 64 columns there is no tile, so that both ways are tried."""
    return Tile(32, 64 if columns > 32 else 32, 32, 4, 1) if columns <= 64 else None


def small_row_tile(columns: int) -> Tile:
    """In the interpreter: few rows, so that there are several programs."""
    return row_tile(columns)._replace(rows=16)


def _enough(table: Table, rows: int, columns: int, itemsize: int, times: int) -> Tile | None:
    """The largest tile that makes ENOUGH programs, else the smallest; None if there is none."""
    for most, tiles in table.get(itemsize, ()):
        if columns <= most:
            for tile in tiles:
                if -(-rows // tile.rows) * -(-columns // tile.columns) * times >= ENOUGH:
                    return tile
            return tiles[-1]
    return None
