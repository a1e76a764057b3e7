"""Launches of `graphrec.kernels.triton.step_linear` and its gradient."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from case import Case, kind

from graphrec.kernels.ops.reference import FROM_INPUT
from graphrec.kernels.triton import step_linear, step_linear_backward
from graphrec.kernels.triton.attention_tiles import SegmentTile

__all__ = ["cases"]

ROWS, STEPS = 8192, 200_000


def inputs(
    dtype: torch.dtype, depth: int, hidden: int, rows: int = ROWS, steps: int = STEPS
) -> list[torch.Tensor]:
    shapes = (rows, depth), (rows, hidden), (steps, depth), (steps,), (hidden, depth)
    tensors = [torch.empty(shape, dtype=dtype, device="meta") for shape in shapes]
    tensors[3] = tensors[3].long()
    return [*tensors, tensors[4]]


def forward(
    act: str,
    dtype: torch.dtype,
    depth: int = 64,
    hidden: int = 256,
    ieee: bool = False,
    tile: SegmentTile | None = None,
) -> Case:
    def launch() -> None:
        torch.set_float32_matmul_precision("highest" if ieee else "high")
        step_linear.forward(*inputs(dtype, depth, hidden), act, act in FROM_INPUT, tile)

    name = f"forward {act} {depth}x{hidden} {kind(dtype)}{' ieee' if ieee else ''}"
    return Case(name, not ieee, launch, due=due_of(ieee))


def backward(
    dtype: torch.dtype, depth: int = 64, hidden: int = 256, ieee: bool = False
) -> Iterator[Case]:
    query, _, keys, rows, of_keys, of_product = inputs(dtype, depth, hidden)
    dz = torch.empty((STEPS, hidden), dtype=dtype, device="meta")
    offsets = torch.empty(ROWS + 1, dtype=torch.int64, device="meta")

    def of_inputs() -> None:
        torch.set_float32_matmul_precision("highest" if ieee else "high")
        step_linear_backward.inputs(dz, query, keys, offsets, of_keys, of_product)

    def of_weights() -> None:
        torch.set_float32_matmul_precision("highest" if ieee else "high")
        step_linear_backward.weights(dz, query, keys, rows)

    name = f"{depth}x{hidden} {kind(dtype)}{' ieee' if ieee else ''}"
    yield Case(f"inputs {name}", not ieee, of_inputs, due=due_of(ieee))
    yield Case(f"weights {name}", not ieee, of_weights, due=due_of(ieee))


def due_of(ieee: bool) -> tuple[str, ...]:
    """Widths are filled up to whole vectors; the tiles are high enough for Hopper's products."""
    return ("vectors", "copies") if ieee else ("vectors", "copies", "wgmma")


def cases() -> Iterator[Case]:
    """The longest epilogues in bf16 and fp32; odd widths."""
    yield from (forward(act, torch.bfloat16) for act in ("relu", "gelu", "silu"))
    yield forward("gelu", torch.float16)
    for ieee in (False, True):
        yield forward("gelu", torch.float32, ieee=ieee)
        yield from backward(torch.float32, ieee=ieee)
    for depth, hidden in ((64, 256), (100, 40), (8, 20)):
        yield from backward(torch.bfloat16, depth, hidden)
    for dtype in (torch.bfloat16, torch.float32):
        yield forward("gelu", dtype, 18, 40)
        yield forward("gelu", dtype, 128, 17)
    yield planted()


def planted() -> Case:
    """A kernel that must be found wrong: its pipeline is too long for the memory."""
    case = forward("none", torch.bfloat16, 1024, tile=SegmentTile(64, 64, 32, 4, 28))
    return case._replace(name=f"planted: {case.name}", planted=True)


def of_rows(rows: int) -> None:
    """Every launcher, for so many steps of as many rows."""
    query, part, keys, of, of_keys, of_product = inputs(torch.bfloat16, 64, 64, rows, rows)
    step_linear.forward(query, part, keys, of, of_keys, of_product, "gelu", True)
    offsets = torch.empty(rows + 1, dtype=torch.int64, device="meta")
    step_linear_backward.inputs(keys, query, keys, offsets, of_keys, of_product)
    step_linear_backward.weights(keys, query, keys, of)
