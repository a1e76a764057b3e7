"""Launches of `graphrec.kernels.triton.linear_norm_act` and `layer_norm`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from case import Case, kind, of_gemm, of_loop

from graphrec.kernels.triton import layer_norm, linear_norm_act, tiles
from graphrec.kernels.triton.tiles import Tile

__all__ = ["cases"]

EPS = 1e-5


def forward(
    tile: Tile | None,
    act: str,
    dtype: torch.dtype,
    columns: int,
    keep: bool = True,
    ieee: bool = False,
) -> Case:
    def launch() -> None:
        torch.set_float32_matmul_precision("highest" if ieee else "high")
        shapes = (4096, 432), (columns, 432), (columns,), (columns,), (columns,)
        tensors = (torch.empty(s, dtype=dtype, device="meta") for s in shapes)
        linear_norm_act.forward(*tensors, EPS, act, keep, tile)

    size = "x".join(str(n) for n in tile or ("table",))
    name = f"forward {act} 432x{columns} {kind(dtype)}{' ieee' if ieee else ''} {size}"
    return Case(name, not ieee, launch, due=of_gemm(tile.rows if tile else 16, ieee))


def rows(act: str, dtype: torch.dtype, columns: int) -> Case:
    def launch() -> None:
        z, gamma = (torch.empty(s, dtype=dtype, device="meta") for s in ((4096, columns), columns))
        layer_norm.norm_rows(z, gamma, gamma, EPS, act)

    due = ("aligned", "nan") if columns * dtype.itemsize % 16 == 0 else ("nan",)
    return Case(f"rows {act} {columns} {kind(dtype)}", False, launch, due=due)


def backward(act: str, dtype: torch.dtype, columns: int, tile: Tile | None = None) -> Case:
    def launch() -> None:
        z, gamma = (torch.empty(s, dtype=dtype, device="meta") for s in ((4096, columns), columns))
        layer_norm.backward(z, z, gamma, gamma, EPS, act, True, True, tile)

    name = f"backward {act} {columns} {kind(dtype)}"
    return Case(name, False, launch, launches=2, due=of_loop(columns, dtype))


def cases() -> Iterator[Case]:
    """Every tile with the longest epilogue, every width of row going back."""
    for dtype in (torch.bfloat16, torch.float32):
        table = tiles.every_tile(tiles.NORM, dtype.itemsize)
        yield from (forward(tile, "gelu", dtype, tile.columns) for tile in table)
        yield forward(table[-1], "gelu", dtype, 200)
        yield from (backward("gelu", dtype, tile.columns) for tile in tiles.ROW)
        yield from (rows("gelu", dtype, columns) for columns in (512, 1000, 4096))
        yield from (backward("tanh", dtype, columns) for columns in (200, 100))
    for act in ("relu", "silu"):
        yield forward(tiles.every_tile(tiles.NORM, 2)[-1], act, torch.float16, 200, keep=False)
        yield backward(act, torch.float16, 256)
    # Exact fp32 is left to the vendor, but for the norm.
    forward_exact = forward(None, "gelu", torch.float32, 256, ieee=True)
    yield forward_exact._replace(due=("aligned", "nan"))
    yield from planted()


def of_rows(rows: int) -> None:
    """Every launcher, for so many rows."""
    torch.set_float32_matmul_precision("high")
    shapes = (rows, 64), (256, 64), (256,), (1024, 64), (1024,)
    x, *tensors = (torch.empty(s, dtype=torch.bfloat16, device="meta") for s in shapes)
    for weight, gamma in (tensors[:2], tensors[2:]):
        y, z = linear_norm_act.forward(x, weight, None, gamma, gamma, EPS, "gelu", True)
        layer_norm.backward(y, z, gamma, gamma, EPS, "gelu", True, True)


def planted() -> Iterator[Case]:
    """Kernels that must be found wrong: too many registers, no tensor cores."""
    for case in (
        forward(Tile(64, 512, 32, 8, 3), "gelu", torch.bfloat16, 512),
        forward(Tile(16, 64, 32, 4, 2), "none", torch.float32, 64, ieee=True)._replace(cores=True),
        backward("gelu", torch.bfloat16, 4096, Tile(2, 4096, 0, 4, 1)),
    ):
        yield case._replace(name=f"planted: {case.name}", planted=True)
