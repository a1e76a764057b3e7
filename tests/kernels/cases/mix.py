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
) -> Case:
    """Forward and backward for so many gates over so many experts."""

    def launch() -> None:
        shapes = (4096, gates, count + -count % 16), (4096, count, columns), (gates, 4096, columns)
        logits, experts, grad = (torch.empty(s, dtype=dtype, device="meta") for s in shapes)
        mix.forward(logits, experts, tasks, private, tile)
        mix.backward(grad, logits, experts, tasks, private, tile)

    name = f"mix {gates} gates {tasks} tasks {count} experts {columns} {kind(dtype)}"
    return Case(name, False, launch, launches=2)


def cases() -> Iterator[Case]:
    """Few and many gates, narrow and wide experts, all seen or some."""
    for dtype in (torch.bfloat16, torch.float32):
        yield from (both(gates, 8, 128, dtype) for gates in (1, 2, 3, 8, 32))
        yield from (both(2, 16, columns, dtype) for columns in (16, 32, 64, 100, 512))
        yield both(4, 12, 128, dtype, tasks=3, private=3)
        yield both(8, 40, 64, dtype, tasks=8, private=4)
    yield both(2, 4, 128, torch.float16)
    planted = both(8, 8, 128, torch.float32, tile=MixTile(32, 128, 4))
    yield planted._replace(name=f"planted: {planted.name}", planted=True)
