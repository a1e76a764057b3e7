"""Histories for the tests of target attention: empty rows everywhere, one step, longer than tiles."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from agreement import check_twin

from graphrec.kernels import TritonDIN
from graphrec.nn.batch import Jagged
from graphrec.nn.sequence import DIN

__all__ = ["LENGTHS", "check_din", "drawn"]

LENGTHS = (0, 3, 0, 1, 40, 0, 17, 2, 16, 5, 0, 1, 0)
"""Interpreted, a program takes 5 rows and 16 steps at a time."""
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 8e-3,
    torch.bfloat16: 5e-2,
}
"""Relative Frobenius error of attention."""


def drawn(query: int, depth: int, lengths: Sequence[int] = LENGTHS) -> tuple[torch.Tensor, Jagged]:
    """A query and a history of these lengths, the same every time."""
    torch.manual_seed(0)
    rows = torch.randn(len(lengths), query)
    return rows, Jagged(torch.randn(sum(lengths), depth), torch.tensor(lengths, dtype=torch.int64))


def check_din(
    query: int,
    depth: int,
    hidden: Sequence[int],
    act: str = "silu",
    dtype: torch.dtype = torch.float64,
    lengths: Sequence[int] = LENGTHS,
    bias: bool = True,
) -> None:
    """The Triton twin agrees with float64 torch on a random history."""
    check_twin(
        lambda kind: kind(query, depth, hidden, act, bias=bias),
        TritonDIN,
        DIN,
        drawn(query, depth, lengths),
        dtype,
        TOLERANCE[dtype],
    )
