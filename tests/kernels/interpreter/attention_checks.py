"""Hard cases of target attention, for the tests of its kernels and for those of planted faults."""

from __future__ import annotations

import torch
from torch import Tensor

from graphrec.kernels.ops.jagged_attention import jagged_attention
from graphrec.kernels.ops.segments import jagged_softmax_sum
from graphrec.kernels.ops.steps import softmax_sum
from graphrec.kernels.ops.target_attention import target_attention

__all__ = [
    "check_dead_units",
    "check_large_values",
    "check_low_scores_of_heads",
    "check_scores",
    "of_layer",
    "offsets_of",
]

LENGTHS = (0, 3, 0, 1, 18, 2, 0)


def offsets_of(lengths: tuple[int, ...]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0)


def of_layer(
    lengths: tuple[int, ...], depth: int, hidden: int, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Random arguments of `target_attention` but the activation."""
    torch.manual_seed(3)
    rows, steps = len(lengths), sum(lengths)
    shapes = (rows, depth), (rows, hidden), (steps, depth), (hidden, depth), (hidden, depth)
    tensors = [torch.randn(s, dtype=dtype) for s in (*shapes, (hidden,), (1,))]
    tensors.insert(3, offsets_of(lengths))
    return tensors


def check_scores(shift: float) -> None:
    """Scores that are all far from 0: sums and their logarithms, of empty rows as well."""
    torch.manual_seed(0)
    offsets, steps = offsets_of(LENGTHS), sum(LENGTHS)
    scores = shift + torch.randn(steps, dtype=torch.float64)
    values = torch.randn(steps, 5, dtype=torch.float64)
    wanted = softmax_sum(scores, values, offsets)
    torch.testing.assert_close(jagged_softmax_sum(scores, values, offsets), wanted)
    tensors = of_layer(LENGTHS, 4, 3)
    tensors[4:7] = (torch.zeros_like(t) for t in tensors[4:7])  # the scores are the bias
    tensors[7] += shift
    alike = tensors[7].expand(steps)
    wanted = softmax_sum(alike, tensors[2], offsets)
    torch.testing.assert_close(target_attention(*tensors, "none"), wanted)


def check_large_values() -> None:
    """A NaN in one row, in another numbers beyond fp16: only the first row is NaN."""
    tensors = of_layer((3, 2), 4, 3, torch.float32)
    tensors[2][3:] *= 1e5
    wanted = target_attention(*tensors, "sigmoid")[0]
    alike = jagged_softmax_sum(torch.zeros(5), *tensors[2:4])[0]
    tensors[2][1, 2] = float("nan")
    y = target_attention(*tensors, "sigmoid")[0]
    assert y[0].isnan().all()
    torch.testing.assert_close(y[1], wanted[1])
    found = jagged_softmax_sum(torch.zeros(5), *tensors[2:4])[0]
    assert found[0, 2].isnan()
    torch.testing.assert_close(found[1], alike[1])


def check_dead_units() -> None:
    """A unit that is off passes no gradient, not even NaN; as in torch."""
    tensors = of_layer((3, 2), 4, 3, torch.float32)
    tensors[1][:, 0] = -100.0
    inputs = [t.requires_grad_() if t.is_floating_point() else t for t in tensors]
    y = target_attention(*inputs, "relu")[0]
    grad = torch.ones_like(y)
    grad[1] = float("nan")
    to_keys, to_query = torch.autograd.grad(y, (tensors[4], tensors[0]), grad)
    assert torch.equal(to_keys[0], torch.zeros(4))
    assert to_query[0].isfinite().all() and to_query[1].isnan().any()


def check_low_scores_of_heads() -> None:
    """Attention among steps whose scores are all far below 0."""
    torch.manual_seed(0)
    v = torch.randn(sum(LENGTHS), 16)
    q = torch.full_like(v, 100.0)
    y, norm = jagged_attention(q, -q, v, offsets_of(LENGTHS), 1)
    wanted = torch.cat([rows.mean(0).expand_as(rows) for rows in v.split(LENGTHS)])
    torch.testing.assert_close(y, wanted)
    of = torch.repeat_interleave(torch.tensor(LENGTHS), torch.tensor(LENGTHS))
    torch.testing.assert_close(norm[0], of.log() - 40_000.0)
