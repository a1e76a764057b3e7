"""Launches of `graphrec.kernels.triton.jagged_attention` and its gradient."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from case import Case, kind

from graphrec.kernels.triton import jagged_attention, jagged_attention_backward
from graphrec.kernels.triton.jagged_attention_tiles import PairTile

__all__ = ["cases"]

ROWS, STEPS = 4096, 200_003


def both(
    head: int,
    dtype: torch.dtype,
    heads: int = 8,
    ieee: bool = False,
    tile: PairTile | None = None,
) -> Iterator[Case]:
    x = torch.empty((STEPS, heads * head), dtype=dtype, device="meta")
    ends = torch.empty((2, STEPS), dtype=torch.int32, device="meta")
    norm = torch.empty((heads, STEPS), device="meta")

    def ahead() -> None:
        torch.set_float32_matmul_precision("highest" if ieee else "high")
        jagged_attention.forward(x, x, x, ends, heads, tile)

    def back() -> None:
        torch.set_float32_matmul_precision("highest" if ieee else "high")
        jagged_attention_backward.backward(x, x, x, x, ends, x, norm, heads, tile)

    name = f"{heads}x{head} {kind(dtype)}{' ieee' if ieee else ''}"
    due = ("vectors", "copies")
    yield Case(f"forward {name}", not ieee, ahead, due=due if ieee else (*due, "wgmma"))
    yield Case(f"backward {name}", not ieee, back, launches=2, due=due)


def cases() -> Iterator[Case]:
    """Every tile, heads that are padded, one head; and a pipeline too long for the memory."""
    for head in (40, 64, 112, 128):
        yield from both(head, torch.bfloat16)
        yield from both(head, torch.float32)
        if head != 40:
            yield from both(head, torch.float32, ieee=True)
    yield from both(18, torch.bfloat16)
    yield from both(8, torch.bfloat16)
    yield from both(40, torch.float32, heads=1)
    offsets = torch.empty(ROWS + 1, dtype=torch.int64, device="meta")
    yield Case("row ends", False, lambda: jagged_attention.row_ends(offsets, STEPS))
    ahead, _ = both(128, torch.bfloat16, tile=PairTile(64, 32, 4, 20))
    yield ahead._replace(name=f"planted: {ahead.name}", planted=True)


def of_rows(rows: int) -> None:
    """Every launcher, for so many steps of as many rows."""
    x = torch.empty((rows, 512), dtype=torch.bfloat16, device="meta")
    norm = torch.empty((8, rows), device="meta")
    offsets = torch.empty(rows + 1, dtype=torch.int64, device="meta")
    ends = jagged_attention.row_ends(offsets, rows)
    jagged_attention.forward(x, x, x, ends, 8)
    jagged_attention_backward.backward(x, x, x, x, ends, x, norm, 8)
