"""Launches of `graphrec.kernels.triton.hstu_attention` and its gradient."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from case import Case, kind

from graphrec.kernels.triton import hstu_attention, hstu_attention_backward
from graphrec.kernels.triton.hstu_pairs import Scores
from graphrec.kernels.triton.jagged_attention_tiles import PairTile

__all__ = ["cases"]

ROWS, STEPS = 4096, 200_003


def scores_of(positions: int, buckets: int, steps: int = STEPS) -> Scores:
    def empty(size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor | None:
        return torch.empty(size, dtype=dtype, device="meta") if size else None

    times = empty(steps if buckets else 0, torch.int64)
    return Scores(empty(positions), empty(buckets), times, empty(buckets, torch.int64))


def both(
    head: int,
    dtype: torch.dtype,
    heads: int = 4,
    ieee: bool = False,
    biased: bool = True,
    value: int | None = None,
    tile: PairTile | None = None,
) -> Iterator[Case]:
    x = torch.empty((STEPS, heads * head), dtype=dtype, device="meta")
    v = torch.empty((STEPS, heads * (value or head)), dtype=dtype, device="meta")
    places = torch.empty((5, STEPS), dtype=torch.int32, device="meta")
    scores = scores_of(512, 64) if biased else scores_of(0, 0)
    # With everything that costs registers: windows, a context, both biases.
    how = scores, heads, 512.0, (128 if biased else 0), (3 if biased else 0)

    def ahead() -> None:
        torch.set_float32_matmul_precision("highest" if ieee else "high")
        hstu_attention.forward(x, x, v, places, *how, tile)

    def back() -> None:
        torch.set_float32_matmul_precision("highest" if ieee else "high")
        hstu_attention_backward.backward(v, x, x, v, places, *how, tile)

    with_value = f"/{value}" if value else ""
    name = f"{heads}x{head}{with_value} {kind(dtype)}{' ieee' if ieee else ''}"
    name += " biased" if biased else ""
    due = ("vectors", "copies")
    large = not ieee and (dtype == torch.float32 or max(head, value or 0) <= 64)  # 64 rows a tile
    yield Case(f"forward {name}", not ieee, ahead, due=(*due, "wgmma") if large else due)
    # Exact products lack registers for a pipeline: no asynchronous copies.
    yield Case(f"backward {name}", not ieee, back, launches=2, due=due[:1] if ieee else due)


def cases() -> Iterator[Case]:
    """Every tile with and without biases, heads that are padded; and a pipeline too long."""
    for head in (64, 128):
        for biased in (True, False):
            yield from both(head, torch.bfloat16, biased=biased)
            yield from both(head, torch.float32, biased=biased)
        yield from both(head, torch.float32, ieee=True)
    yield from both(57, torch.bfloat16, biased=False)
    yield from both(64, torch.bfloat16, value=128)
    offsets = torch.empty(ROWS + 1, dtype=torch.int64, device="meta")
    targets = offsets[1:]
    yield Case("places", False, lambda: hstu_attention.places(offsets, targets, STEPS, 3))
    ahead, _ = both(128, torch.bfloat16, tile=PairTile(64, 32, 4, 20))
    yield ahead._replace(name=f"planted: {ahead.name}", planted=True)


def of_rows(rows: int) -> None:
    """Every launcher, for so many steps of as many rows."""
    x = torch.empty((rows, 256), dtype=torch.bfloat16, device="meta")
    offsets = torch.empty(rows + 1, dtype=torch.int64, device="meta")
    placed = hstu_attention.places(offsets, offsets[1:], rows, 2)
    how = scores_of(64, 32, rows), 4, 512.0, 0, 2
    hstu_attention.forward(x, x, x, placed, *how)
    hstu_attention_backward.backward(x, x, x, x, placed, *how)
