"""Launches of `graphrec.kernels.triton.experts`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from case import Case, kind, of_gemm, of_loop

from graphrec.kernels.ops.reference import FROM_INPUT
from graphrec.kernels.triton import experts, tiles
from graphrec.kernels.triton.expert_tiles import OTHERWISE
from graphrec.kernels.triton.tiles import Tile

__all__ = ["cases"]


def forward(
    tile: Tile | None,
    act: str,
    dtype: torch.dtype,
    slots: int,
    per: int = 1,
    depth: int = 256,
    columns: int = 128,
    ieee: bool = False,
) -> Case:
    """Eight experts; with one slot they all read the same rows."""

    def launch() -> None:
        torch.set_float32_matmul_precision("highest" if ieee else "high")
        shapes = (4096, slots, depth), (8, columns, depth), (8, columns)
        x, weight, bias = (torch.empty(s, dtype=dtype, device="meta") for s in shapes)
        experts.forward(x, weight, bias, per, act, act in FROM_INPUT, tile)

    size = "x".join(str(n) for n in tile or ("table",))
    name = f"experts {act} {slots} x {per} slots {depth}x{columns} {kind(dtype)} {size}"
    due = of_gemm(tile.rows if tile else 16, ieee)
    return Case(f"{name}{' ieee' * ieee}", not ieee, launch, due=due)


def backward(act: str, dtype: torch.dtype, columns: int) -> Case:
    def launch() -> None:
        grad = torch.empty((4096, 8, columns), dtype=dtype, device="meta")
        experts.backward(grad, grad, act, need_bias=True)

    name = f"backward of experts {act} {columns} {kind(dtype)}"
    return Case(name, False, launch, launches=2, due=of_loop(columns, dtype))


def of_rows(rows: int) -> None:
    """Every launcher, for so many rows."""
    torch.set_float32_matmul_precision("high")
    shapes = (rows, 3, 64), (3, 256, 64)
    x, weight = (torch.empty(s, dtype=torch.bfloat16, device="meta") for s in shapes)
    y, z = experts.forward(x, weight, None, 1, "gelu", True)
    experts.backward(y, z, "gelu", True)


def cases() -> Iterator[Case]:
    """Every tile by the longest epilogue and the shortest; shared, own and PLE's slots."""
    for dtype in (torch.bfloat16, torch.float32):
        table = tiles.every_tile(tiles.FORWARD, dtype.itemsize)
        for tile in sorted({OTHERWISE.get(tile, tile) for tile in table}):
            yield forward(tile, "gelu", dtype, slots=8)
            yield forward(tile, "relu", dtype, slots=3, per=2)
        yield forward(None, "relu", dtype, slots=1, depth=429)
        yield forward(None, "none", dtype, slots=8, columns=100)
        yield from (backward(act, dtype, n) for act in ("gelu", "none") for n in (128, 40, 100))
    yield forward(None, "silu", torch.float16, slots=8)
    yield backward("silu", torch.float16, 128)
    yield forward(tiles.every_tile(tiles.FORWARD, 4)[0], "gelu", torch.float32, 8, ieee=True)
    # Exact fp32 is left to the vendor.
    yield forward(None, "gelu", torch.float32, 8, ieee=True)._replace(launches=0)
    planted = (
        forward(Tile(64, 128, 64, 2, 4), "gelu", torch.bfloat16, slots=8),
        forward(Tile(16, 64, 64, 4, 28), "none", torch.bfloat16, slots=8),
    )
    yield from (case._replace(name=f"planted: {case.name}", planted=True) for case in planted)
