"""Launches of `graphrec.kernels.triton.target_attention` and its gradient."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from case import Case, kind

from graphrec.kernels.triton import target_attention, target_attention_backward
from graphrec.kernels.triton.attention_tiles import SegmentTile

__all__ = ["cases"]


def inputs(dtype: torch.dtype, depth: int, hidden: int, rows: int) -> list[torch.Tensor]:
    shapes = (rows, depth), (rows, hidden), (25 * rows, depth), (rows + 1,)
    shapes += (hidden, depth), (hidden, depth), (hidden,), (1,)
    tensors = [torch.empty(shape, dtype=dtype, device="meta") for shape in shapes]
    tensors[3] = tensors[3].long()
    return tensors


def both(
    act: str,
    dtype: torch.dtype,
    depth: int = 64,
    hidden: int = 64,
    rows: int = 8192,
    ieee: bool = False,
    tile: SegmentTile | None = None,
) -> Iterator[Case]:
    tensors = inputs(dtype, depth, hidden, rows)
    out = torch.empty(rows, depth, device="meta")
    norm = torch.empty(rows, device="meta")

    def ahead() -> None:
        torch.set_float32_matmul_precision("highest" if ieee else "high")
        target_attention.forward(*tensors, act, tile)

    def back() -> None:
        torch.set_float32_matmul_precision("highest" if ieee else "high")
        target_attention_backward.backward(out, *tensors, out, norm, act, tile)

    name = f"{act} {depth}x{hidden} {kind(dtype)}{' ieee' if ieee else ''} {rows} rows"
    whole = depth * dtype.itemsize % 16 == 0
    due = ("vectors", "copies") if whole else ()
    of_half = ("wgmma",) if dtype.itemsize == 2 else ()
    yield Case(f"forward {name}", not ieee, ahead, due=(*due, *of_half))
    yield Case(f"backward {name}", not ieee, back, due=() if ieee else due)


def cases() -> Iterator[Case]:
    """The widest layer with the longest epilogues, widths that are no power of 2, few rows.

    The planted one has a pipeline too long for the memory.
    """
    for act in ("relu", "tanh", "gelu", "silu"):
        yield from both(act, torch.bfloat16)
    for dtype in (torch.bfloat16, torch.float32):
        for widths in ((18, 40), (8, 16), (24, 40), (32, 64)):
            yield from both("silu", dtype, *widths)
    yield from both("gelu", torch.bfloat16, rows=300)
    yield from both("gelu", torch.float32)
    yield from both("gelu", torch.float32, ieee=True)
    ahead, _ = both("none", torch.float32, tile=SegmentTile(16, 0, 0, 4, 40))
    yield ahead._replace(name=f"planted: {ahead.name}", planted=True)


def of_rows(rows: int) -> None:
    """Every launcher, for so many rows."""
    for case in both("silu", torch.bfloat16, rows=rows):
        case.launch()
