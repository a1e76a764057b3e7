"""Sums, softmax and padding over the rows of a `Jagged`: what sequence layers are made of.

All of it is index arithmetic with known output sizes, so it runs on the meta device, exports, and
costs what the real steps cost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphrec.nn.batch import Jagged

__all__ = [
    "as_jagged",
    "longest",
    "padded",
    "places",
    "segment_softmax",
    "segment_softmax_sum",
    "segment_sum",
]


def as_jagged(x: Tensor | Jagged) -> Jagged:
    """Fields [B, N, D] as rows of N steps each; a Jagged as it is."""
    if isinstance(x, Jagged):
        return x
    lengths = torch.full((x.shape[0],), x.shape[1], dtype=torch.int64, device=x.device)
    return Jagged(x.reshape(-1, x.shape[-1]), lengths)


def places(x: Jagged, rows: Tensor) -> Tensor:
    """Position of every step within its row, from 0, [T]."""
    starts = x.lengths.cumsum(0) - x.lengths
    steps = torch.arange(rows.shape[0], device=rows.device)
    return steps - starts.index_select(0, rows)


def longest(x: Jagged) -> int:
    """Steps of the longest row, at least 2; where lengths are not known (meta) the most it can be.

    Under torch.export it is a symbol, and above 1 it is never taken for a size that broadcasts.
    """
    if x.lengths.is_meta or x.num_rows == 0:
        return max(x.values.shape[0], 2)
    length: int = x.lengths.clamp(min=2).max().item()  # type: ignore[assignment]
    torch._check(length >= 2)  # type: ignore[no-untyped-call]
    return length


def padded(x: Jagged, rows: Tensor) -> tuple[Tensor, Tensor]:
    """All steps and their rows, [T, D] and [T], then zeros that fill rows up to the longest."""
    known = not x.lengths.is_meta and x.num_rows > 0
    most = int(x.lengths.max()) if known else x.values.shape[0]
    missing = (most - x.lengths).cumsum(0)
    total = x.num_rows * most - x.values.shape[0]
    steps = torch.arange(total, device=rows.device)
    zeros = x.values.new_zeros(total, *x.values.shape[1:])
    filling = torch.searchsorted(missing, steps, right=True)
    return torch.cat([x.values, zeros]), torch.cat([rows, filling])


def segment_sum(values: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    """Sum of the steps of each row, [num_rows, ...]; an empty row gives zeros."""
    return values.new_zeros(num_rows, *values.shape[1:]).index_add_(0, rows, values)


def _exponentials(scores: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    """exp(scores - largest of the row), [T], in at least single precision."""
    if scores.dtype in (torch.bfloat16, torch.float16):
        scores = scores.float()
    with torch.no_grad():
        tops = scores.new_full((num_rows,), -torch.inf)
        tops = tops.scatter_reduce_(0, rows, scores, "amax").index_select(0, rows)
    return torch.exp(scores - tops)


def segment_softmax(scores: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    """Softmax of the scores [T] within each row."""
    powers = _exponentials(scores, rows, num_rows)
    return powers / segment_sum(powers, rows, num_rows).index_select(0, rows)


def segment_softmax_sum(scores: Tensor, values: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    """Sum of softmax(scores) [T] times values [T, D] within each row, [num_rows, D]; empty: zeros.

    It divides once per row, not once per step.
    """
    powers = _exponentials(scores, rows, num_rows)
    # At least 1 in a row that has steps: the largest score contributes exp(0).
    whole = segment_sum(powers, rows, num_rows).clamp(min=1.0)
    return segment_sum(powers.unsqueeze(-1) * values, rows, num_rows) / whole.unsqueeze(-1)
