"""Launches of `graphrec.kernels.triton.linear_scale`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from case import Case, kind, of_gemm, of_loop

from graphrec.kernels.triton import linear_scale, tiles
from graphrec.kernels.triton.tiles import Tile

__all__ = ["cases"]


def forward(
    tile: Tile | None,
    act: str,
    dtype: torch.dtype,
    skip: bool,
    columns: int = 256,
    keep: bool = True,
    ieee: bool = False,
) -> Case:
    def launch() -> None:
        torch.set_float32_matmul_precision("highest" if ieee else "high")
        shapes = (4096, 432), (columns, 432), (columns,), (4096, columns), (4096, columns)
        x, weight, bias, factor, last = (torch.empty(s, dtype=dtype, device="meta") for s in shapes)
        last = last if skip else None
        linear_scale.forward(x, weight, bias, factor, last, act, 2.0, keep, dtype, tile)

    size = "x".join(str(n) for n in tile or ("table",))
    options = f"{' skip' * skip}{' ieee' * ieee}"
    name = f"forward {act} 432x{columns} {kind(dtype)}{options} {size}"
    return Case(name, not ieee, launch, due=of_gemm(tile.rows if tile else 16, ieee))


def backward(act: str, dtype: torch.dtype, columns: int, tile: Tile | None = None) -> Case:
    def launch() -> None:
        grad = torch.empty((4096, columns), dtype=dtype, device="meta")
        linear_scale.backward(grad, grad, grad, act, 2.0, True, True, tile)

    name = f"backward {act} {columns} {kind(dtype)}"
    return Case(name, False, launch, launches=2, due=of_loop(columns, dtype))


def cases() -> Iterator[Case]:
    """Every tile with the longest epilogue; cross layers, gates and masks with one tile."""
    for dtype in (torch.bfloat16, torch.float32):
        table = tiles.every_tile(tiles.FORWARD, dtype.itemsize)
        table = sorted({tiles.SCALE.get(tile, tile) for tile in table})
        yield from (forward(tile, "gelu", dtype, skip=True) for tile in table)
        yield forward(table[-1], "none", dtype, skip=True)
        yield forward(table[-1], "sigmoid", dtype, skip=False)
        yield forward(table[-1], "gelu", dtype, skip=True, columns=100)
        yield forward(table[-1], "none", dtype, skip=False, keep=False)
        yield from (backward(act, dtype, 256) for act in ("none", "sigmoid", "silu", "gelu"))
        yield forward(table[-1], "gelu", dtype, skip=True, columns=200)
        yield from (backward("gelu", dtype, columns) for columns in (200, 100))
    yield forward(tiles.every_tile(tiles.FORWARD, 2)[-1], "sigmoid", torch.float16, skip=True)
    yield forward(tiles.every_tile(tiles.FORWARD, 4)[1], "gelu", torch.float32, True, ieee=True)
    # Exact fp32 is left to the vendor.
    yield forward(None, "gelu", torch.float32, True, ieee=True)._replace(launches=0)
    yield from planted()


def of_rows(rows: int) -> None:
    """Every launcher, for so many rows."""
    torch.set_float32_matmul_precision("high")
    shapes = (rows, 64), (256, 64), (rows, 256)
    x, weight, factor = (torch.empty(s, dtype=torch.bfloat16, device="meta") for s in shapes)
    y, kept = linear_scale.forward(
        x, weight, None, factor, factor, "gelu", 2.0, True, torch.bfloat16
    )
    linear_scale.backward(y, factor, kept, "gelu", 2.0, True, True)


def planted() -> Iterator[Case]:
    """Kernels that must be found wrong: too many registers, too much memory, no tensor cores."""
    for case in (
        forward(Tile(64, 128, 64, 2, 4), "gelu", torch.bfloat16, skip=True),
        forward(Tile(16, 64, 64, 4, 28), "none", torch.bfloat16, skip=True),
        forward(Tile(16, 64, 32, 4, 2), "none", torch.float32, False, ieee=True)._replace(
            cores=True
        ),
    ):
        yield case._replace(name=f"planted: {case.name}", planted=True)
