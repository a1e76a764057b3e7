"""Launches of `graphrec.kernels.triton.mix`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from case import Case, kind

from graphrec.kernels.triton import mix
from graphrec.kernels.triton.expert_tiles import MixTile

__all__ = ["cases"]


def both(
    gates: int,
    count: int,
    columns: int,
    dtype: torch.dtype,
    tasks: int = 0,
    private: int = 0,
    tile: MixTile | None = None,
    rows: int = 4096,
) -> Case:
    """Forward and backward for so many gates over so many experts."""

    def launch() -> None:
        shapes = (rows, gates, count + -count % 16), (rows, count, columns), (gates, rows, columns)
        logits, experts, grad = (torch.empty(s, dtype=dtype, device="meta") for s in shapes)
        mix.forward(logits, experts, tasks, private, tile)
        mix.backward(grad, logits, experts, tasks, private, tile)

    name = f"mix {gates} gates {tasks} tasks {count} experts {columns} {kind(dtype)}"
    # Many gates leave a thread less than the 4 bytes that an asynchronous copy has.
    due = ("vectors", "copies") if gates <= 4 else ("vectors",)
    return Case(name, False, launch, launches=2, due=due)


def cases() -> Iterator[Case]:
    """Few and many gates, narrow and wide experts, all seen or some."""
    for dtype in (torch.bfloat16, torch.float32):
        yield from (both(gates, 8, 128, dtype) for gates in (1, 2, 3, 8, 32))
        yield from (both(2, 16, columns, dtype) for columns in (16, 32, 40, 64, 100, 512))
        yield both(4, 12, 128, dtype, tasks=3, private=3)
        yield both(8, 40, 64, dtype, tasks=8, private=4)
    yield both(2, 4, 128, torch.float16)
    # Too many registers; and the softmax takes a maximum that drops NaN, for logits not in sight.
    planted = both(8, 8, 128, torch.float32, tile=MixTile(32, 128, 4))
    yield planted._replace(name=f"planted: {planted.name}", planted=True)
    planted = both(2, 4, 128, torch.float32)
    yield planted._replace(name="planted: a maximum", planted=True, due=("nan",))


def of_rows(rows: int) -> None:
    """Every launcher, for so many rows."""
    both(2, 4, 128, torch.bfloat16, rows=rows).launch()
