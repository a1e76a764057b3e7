"""`graphrec::jagged_attention`: multi-head attention among the steps of each row, without padding.

Rows are given by `offsets` [B + 1]: row b has the steps offsets[b] to offsets[b + 1] - 1, and the
last offset is the number of steps. Torch's own attention over rows of different lengths is for
CUDA in half precision only.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import torch
from torch import Tensor

from graphrec.kernels.ops.operator import differentiable, operator
from graphrec.kernels.ops.steps import wide
from graphrec.kernels.route import triton_twin

__all__ = ["WIDEST", "jagged_attention", "jagged_attention_backward"]

WIDEST = 128
"""Width of a head up to which the kernels hold a tile on chip; the reference serves wider ones."""
_BOTH = ("jagged_attention_backward", "jagged_attention")
_TOGETHER = 32
"""Rows that the reference pads to the longest of them at a time: it holds their scores."""


def _check(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, heads: int) -> None:
    alike = all(x.shape == q.shape and x.dtype == q.dtype for x in (k, v))
    if q.dim() != 2 or not alike:
        shown = ", ".join(f"{tuple(x.shape)} {x.dtype}" for x in (q, k, v))
        raise ValueError(f"jagged_attention: q, k, v are {shown}; needs one shape and type [T, D]")
    if heads < 1 or q.shape[1] % heads or not q.shape[1]:
        raise ValueError(f"jagged_attention: width {q.shape[1]} for {heads} heads")
    if offsets.dim() != 1 or offsets.shape[0] < 1 or offsets.dtype != torch.int64:
        raise ValueError(f"offsets {tuple(offsets.shape)} {offsets.dtype}: needs int64 [B + 1]")


@operator(
    "jagged_attention",
    check=_check,
    like=lambda q, heads: (
        q.new_empty(q.shape),
        q.new_empty(heads, q.shape[0], dtype=wide(q)),
    ),
)
def jagged_attention(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, heads: int
) -> tuple[Tensor, Tensor]:
    """(softmax(q k^T / sqrt(d)) v within rows [T, heads * d], log of the sums [heads, T]).

    q, k, v [T, heads * d] of one type, offsets [B + 1] int64. The first result has their type; the
    second, of the sums of exponentials, is in fp32 (fp64 for fp64) and for the gradient.
    """
    twin = _twin("jagged_attention", q, heads)
    if twin is not None:
        out, norm = twin.forward(q, k, v, twin.row_ends(offsets, q.shape[0]), heads)
        return out, norm
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    norm = q.new_empty(heads, q.shape[0], dtype=wide(q))
    for steps, real in _groups(offsets):
        p, log_sum = _softmax(_padded(q[steps], real, heads), _padded(k[steps], real, heads), real)
        out[steps] = _steps(p @ _padded(v[steps], real, heads), real).to(q.dtype)
        norm[:, steps] = _steps(log_sum.unsqueeze(-1), real).t()
    return out, norm


@operator(
    "jagged_attention_backward",
    like=lambda q, k, v: tuple(one.new_empty(one.shape) for one in (q, k, v)),
)
def jagged_attention_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offsets: Tensor,
    out: Tensor,
    norm: Tensor,
    heads: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v [T, heads * d]."""
    twin, ahead = (_twin(op, q, heads) for op in _BOTH)
    if twin is not None and ahead is not None:
        ends = ahead.row_ends(offsets, q.shape[0])
        dq, dk, dv = twin.backward(grad, q, k, v, ends, out, norm, heads)
        return dq, dk, dv
    grads = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v)]
    scale = (q.shape[1] // heads) ** -0.5
    for steps, real in _groups(offsets):
        tensors = (x[steps] for x in (q, k, v, grad, out))
        wq, wk, wv, g, y = (_padded(x, real, heads) for x in tensors)
        p, _ = _softmax(wq, wk, real)
        ds = p * (g @ wv.mT - (g * y).sum(-1, keepdim=True)) * scale
        for whole, part in zip(grads, (ds @ wk, ds.mT @ wq, p.mT @ g), strict=True):
            whole[steps] = _steps(part, real).to(q.dtype)
    dq, dk, dv = grads
    return dq, dk, dv


differentiable(
    jagged_attention,
    jagged_attention_backward,
    results=("out", "norm"),
    of=("q", "k", "v"),
)


def _twin(op: str, q: Tensor, heads: int) -> ModuleType | None:
    return triton_twin(op, q) if q.shape[1] <= heads * WIDEST else None


def _groups(offsets: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """A few rows at a time: their steps, and a mask [rows, longest of them] of those that are."""
    ends = offsets.tolist()
    for first in range(0, len(ends) - 1, _TOGETHER):
        some = ends[first : first + _TOGETHER + 1]
        lengths = [high - low for low, high in zip(some, some[1:], strict=False)]
        if any(lengths):
            place = torch.arange(max(lengths), device=offsets.device)
            real = place < torch.tensor(lengths, device=offsets.device).unsqueeze(-1)
            yield slice(some[0], some[-1]), real


def _padded(x: Tensor, real: Tensor, heads: int) -> Tensor:
    """Steps [t, heads * d] as [rows, heads, longest, d], wide, with zeros behind each row."""
    whole = x.new_zeros(*real.shape, x.shape[1], dtype=wide(x))
    whole[real] = x.to(whole.dtype)
    return whole.reshape(*real.shape, heads, -1).transpose(1, 2)


def _steps(x: Tensor, real: Tensor) -> Tensor:
    """What was padded, [rows, heads, longest, d], as steps [t, heads * d]."""
    return x.transpose(1, 2).flatten(2)[real]


def _softmax(q: Tensor, k: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """(probabilities, log of the sums of exponentials) of the real keys for padded q and k."""
    scores = (q @ k.mT) * q.shape[-1] ** -0.5
    # An empty row has no score: there the padding stands for one.
    real = real | ~real.any(1, keepdim=True)
    scores = scores.masked_fill(~real[:, None, None, :], -torch.inf)
    log_sum = scores.logsumexp(-1)
    return torch.exp(scores - log_sum.unsqueeze(-1)), log_sum
