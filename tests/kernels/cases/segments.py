"""Launches of `graphrec.kernels.triton.segments`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from case import Case, kind

from graphrec.kernels.triton import segments
from graphrec.kernels.triton.attention_tiles import SegmentTile

__all__ = ["cases"]

ROWS, STEPS = 8192, 200_000


def three(
    dtype: torch.dtype,
    columns: int = 64,
    ieee: bool = False,
    rows: int = ROWS,
    tile: SegmentTile | None = None,
) -> Iterator[Case]:
    scores = torch.empty(STEPS, dtype=dtype, device="meta")
    values = torch.empty((STEPS, columns), dtype=dtype, device="meta")
    offsets = torch.empty(rows + 1, dtype=torch.int64, device="meta")
    out, norm = torch.empty(rows, columns, device="meta"), torch.empty(rows, device="meta")

    def ahead() -> None:
        torch.set_float32_matmul_precision("highest" if ieee else "high")
        segments.forward(scores, values, offsets, tile)

    def back() -> None:
        segments.backward(out, scores, values, offsets, out, norm, tile)

    def total() -> None:
        torch.set_float32_matmul_precision("highest" if ieee else "high")
        segments.sum_of_rows(values, offsets, tile)

    name = f"{columns} {kind(dtype)}{' ieee' if ieee else ''} {rows} rows"
    due = due_of(columns, dtype)
    yield Case(f"forward {name}", not ieee, ahead, due=due)
    yield Case(f"backward {name}", False, back, due=due)
    yield Case(f"sum {name}", not ieee, total, due=due)


def due_of(columns: int, dtype: torch.dtype) -> tuple[str, ...]:
    """Rows of whole vectors are read in vectors."""
    return ("vectors", "copies") if columns * dtype.itemsize % 16 == 0 else ("copies",)


def cases() -> Iterator[Case]:
    """Every tile, widths that vectors do not fit, few rows; and a pipeline too long for the memory."""
    for dtype in (torch.bfloat16, torch.float32):
        for columns in (64, 8, 40, 200, 18):
            yield from three(dtype, columns)
    yield from three(torch.bfloat16, 100, rows=300)
    yield from three(torch.float32, ieee=True)
    ahead, *_ = three(torch.bfloat16, tile=SegmentTile(64, 64, 0, 4, 40))
    yield ahead._replace(name=f"planted: {ahead.name}", planted=True)


def of_rows(rows: int) -> None:
    """Every launcher, for so many rows."""
    for case in three(torch.bfloat16, rows=rows):
        case.launch()
