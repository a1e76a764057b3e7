"""Launches of `graphrec.kernels.triton.linear_act`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from case import Case, kind, of_gemm, of_loop

from graphrec.kernels.ops.reference import FROM_INPUT, FUSED
from graphrec.kernels.triton import linear_act, tiles
from graphrec.kernels.triton.tiles import Tile

__all__ = ["cases"]


def forward(
    tile: Tile | None,
    act: str,
    dtype: torch.dtype,
    depth: int = 432,
    columns: int = 256,
    ieee: bool = False,
) -> Case:
    def launch() -> None:
        torch.set_float32_matmul_precision("highest" if ieee else "high")
        shapes = (4096, depth), (columns, depth), (columns,)
        x, weight, bias = (torch.empty(s, dtype=dtype, device="meta") for s in shapes)
        linear_act.forward(x, weight, bias, act, act in FROM_INPUT, tile)

    size = "x".join(str(n) for n in tile or ("table",))
    name = f"forward {act} {depth}x{columns} {kind(dtype)}{' ieee' if ieee else ''} {size}"
    return Case(name, not ieee, launch, due=of_gemm(tile.rows if tile else 16, ieee))


def backward(act: str, dtype: torch.dtype, columns: int) -> Case:
    def launch() -> None:
        grad = torch.empty((4096, columns), dtype=dtype, device="meta")
        linear_act.backward(grad, grad, act, need_bias=True)

    name = f"backward {act} {columns} {kind(dtype)}"
    return Case(name, False, launch, launches=2, due=of_loop(columns, dtype))


def of_rows(rows: int) -> None:
    """Every launcher, for so many rows."""
    torch.set_float32_matmul_precision("high")
    x, weight = (
        torch.empty(s, dtype=torch.bfloat16, device="meta") for s in ((rows, 64), (256, 64))
    )
    y, z = linear_act.forward(x, weight, None, "gelu", True)
    linear_act.backward(y, z, "gelu", True)


def cases() -> Iterator[Case]:
    """Every tile with the longest epilogue and without one, every activation with one tile."""
    for dtype in (torch.bfloat16, torch.float32):
        table = tiles.every_tile(tiles.FORWARD, dtype.itemsize)
        for act in FUSED:
            some = table if act in ("gelu", "none") else table[-1:]
            yield from (forward(tile, act, dtype) for tile in some)
            yield backward(act, dtype, 256)
        yield forward(table[-1], "gelu", dtype, depth=37, columns=100)
        yield forward(table[-1], "gelu", dtype, columns=200)
        yield from (backward("gelu", dtype, n) for n in (200, 100))
    yield forward(tiles.every_tile(tiles.FORWARD, 2)[-1], "gelu", torch.float16)
    yield backward("gelu", torch.float16, 256)
    for tile in tiles.every_tile(tiles.FORWARD, 4)[:-1]:  # the largest has no room for it
        yield forward(tile, "gelu", torch.float32, ieee=True)
    # Exact fp32 is left to the vendor.
    yield forward(None, "gelu", torch.float32, ieee=True)._replace(launches=0)
    yield from planted()


def planted() -> Iterator[Case]:
    """Kernels that must be found wrong: too many registers, too much memory, no tensor cores or
    some where the product is exact, no copies ahead, rows that vectors don't fit.
    """
    for case in (
        forward(Tile(64, 128, 64, 2, 4), "gelu", torch.bfloat16),
        forward(Tile(16, 64, 64, 4, 28), "none", torch.bfloat16),
        forward(Tile(16, 64, 32, 4, 2), "none", torch.float32, ieee=True)._replace(cores=True),
        forward(Tile(16, 64, 32, 4, 2), "none", torch.float32)._replace(cores=False),
        forward(Tile(16, 64, 64, 4, 1), "none", torch.bfloat16),
        backward("none", torch.bfloat16, 100)._replace(due=("aligned",)),
    ):
        yield case._replace(name=f"planted: {case.name}", planted=True)
