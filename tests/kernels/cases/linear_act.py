"""Launches of `graphrec.kernels.triton.linear_act`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from case import Case, kind

from graphrec.kernels.ops.linear_act import FROM_INPUT, FUSED
from graphrec.kernels.triton import linear_act, tiles
from graphrec.kernels.triton.tiles import Tile

__all__ = ["cases"]


def forward(
    tile: Tile,
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

    size = "x".join(str(n) for n in tile)
    name = f"forward {act} {depth}x{columns} {kind(dtype)}{' ieee' if ieee else ''} {size}"
    return Case(name, not ieee, launch)


def backward(act: str, dtype: torch.dtype, columns: int) -> Case:
    def launch() -> None:
        grad = torch.empty((4096, columns), dtype=dtype, device="meta")
        linear_act.backward(grad, grad, act, need_bias=True)

    return Case(f"backward {act} {columns} {kind(dtype)}", False, launch)


def cases() -> Iterator[Case]:
    """Every tile with every activation; fp16 and exact fp32 with the longest epilogue only."""
    for dtype in (torch.bfloat16, torch.float32):
        table = {tile for *_, tile in tiles.FORWARD[dtype.itemsize]}
        for act in FUSED:
            yield from (forward(tile, act, dtype) for tile in sorted(table))
            yield from (backward(act, dtype, columns) for columns in (256, 100))
        yield from (forward(tile, "gelu", dtype, depth=37, columns=100) for tile in sorted(table))
    for tile in sorted({tile for *_, tile in tiles.FORWARD[2]}):
        yield forward(tile, "gelu", torch.float16)
    yield backward("gelu", torch.float16, 256)
    for tile in sorted({tile for *_, tile in tiles.FORWARD[4]}):
        yield forward(tile, "gelu", torch.float32, ieee=True)
    yield from planted()


def planted() -> Iterator[Case]:
    """Kernels that must be found wrong: too many registers, too much memory, no tensor cores."""
    for case in (
        forward(Tile(64, 128, 64, 2, 4), "gelu", torch.bfloat16),
        forward(Tile(16, 64, 64, 4, 28), "none", torch.bfloat16),
        forward(Tile(16, 64, 32, 4, 2), "none", torch.float32, ieee=True)._replace(cores=True),
    ):
        yield case._replace(name=f"planted: {case.name}", planted=True)
