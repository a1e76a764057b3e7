"""`graphrec::hstu_attention`: HSTU's pointwise attention among the steps of each row.

silu(q k^T / sqrt(d) + biases) v / scale over the pairs that meet, without a softmax (Zhai et al.,
2024). Rows are given by `offsets` [B + 1]; who meets whom is told at `graphrec.nn.hstu_attention`.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from graphrec.kernels.ops.operator import differentiable, operator
from graphrec.kernels.ops.steps import wide
from graphrec.kernels.route import triton_twin
from graphrec.nn.hstu_attention import meeting

__all__ = ["WIDEST", "hstu_attention", "hstu_attention_backward"]

WIDEST = 128
"""Width of a head up to which the kernels hold a tile on chip; the reference serves wider ones."""
_TOGETHER = 32
"""Rows that the reference pads to the longest of them at a time: it holds their scores."""


_BOTH = ("hstu_attention_backward", "hstu_attention")


def _check(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, heads: int) -> None:
    alike = k.shape == q.shape and k.dtype == q.dtype == v.dtype
    if q.dim() != 2 or v.dim() != 2 or not alike or v.shape[0] != q.shape[0]:
        given = ", ".join(f"{tuple(x.shape)} {x.dtype}" for x in (q, k, v))
        raise ValueError(f"hstu_attention: q, k, v are {given}; needs [T, D] twice and [T, E]")
    if heads < 1 or q.shape[1] % heads or v.shape[1] % heads or not q.shape[1] * v.shape[1]:
        widths = f"{q.shape[1]} and {v.shape[1]}"
        raise ValueError(f"hstu_attention: widths {widths} for {heads} heads")
    if offsets.dim() != 1 or offsets.shape[0] < 1 or offsets.dtype != torch.int64:
        raise ValueError(f"offsets {tuple(offsets.shape)} {offsets.dtype}: needs int64 [B + 1]")


@operator("hstu_attention", check=_check, like=lambda v: v.new_empty(v.shape))
def hstu_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offsets: Tensor,
    targets: Tensor | None,
    position: Tensor | None,
    time: Tensor | None,
    times: Tensor | None,
    limits: Tensor | None,
    heads: int,
    scale: float,
    window: int,
    context: int,
) -> Tensor:
    """The attended values [T, heads * e] of q, k [T, heads * d] and v [T, heads * e], one type.

    offsets [B + 1], targets [B] (candidates at a row's end) and times [T] are int64. `position` [P]
    is added by distance; `time` [N] by the bucket of the difference of times, with its `limits`.
    """
    twin = _twin("hstu_attention", q, v, heads)
    if twin is not None:
        scores = twin.Scores(position, time, times, limits)
        placed = twin.places(offsets, targets, q.shape[0], context)
        attended: Tensor = twin.forward(q, k, v, placed, scores, heads, scale, window, context)
        return attended
    out = torch.empty_like(v, memory_format=torch.contiguous_format)
    biases = _Biases(position, time, times, limits)
    for part in _parts(offsets, targets):
        wq, wk, wv = (_padded(x[part.steps], part.real, heads) for x in (q, k, v))
        s, _, _ = _scores(wq, wk, part, biases)
        met = meeting(part.lengths, part.targets, s.shape[-1], window, context).unsqueeze(1)
        weights = s * torch.sigmoid(s) * met / scale
        out[part.steps] = _steps(weights @ wv, part.real).to(v.dtype)
    return out


@operator(
    "hstu_attention_backward",
    like=lambda q, k, v, position, time: (
        *(q.new_empty(x.shape) for x in (q, k, v)),
        *(q.new_empty(0 if b is None else len(b), dtype=wide(q)) for b in (position, time)),
    ),
)
def hstu_attention_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offsets: Tensor,
    targets: Tensor | None,
    position: Tensor | None,
    time: Tensor | None,
    times: Tensor | None,
    limits: Tensor | None,
    heads: int,
    scale: float,
    window: int,
    context: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v, and of both biases, wide; of one that is not there it is empty.

    On a GPU those of biases are added in any order; deterministic algorithms take the reference.
    """
    twin = ahead = None
    exact = torch.are_deterministic_algorithms_enabled() and q.device.type == "cuda"
    if not (exact and (position is not None or time is not None)):
        twin, ahead = (_twin(op, q, v, heads) for op in _BOTH)
    if twin is not None and ahead is not None:
        scores = ahead.Scores(position, time, times, limits)
        placed = ahead.places(offsets, targets, q.shape[0], context)
        dq, dk, dv, dp, dt = twin.backward(
            grad, q, k, v, placed, scores, heads, scale, window, context
        )
        return dq, dk, dv, dp, dt
    grads = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v)]
    biases = _Biases(position, time, times, limits)
    sums = [q.new_zeros(0 if b is None else len(b), dtype=wide(q)) for b in (position, time)]
    alpha = (q.shape[1] // heads) ** -0.5
    for part in _parts(offsets, targets):
        wq, wk, wv, g = (_padded(x[part.steps], part.real, heads) for x in (q, k, v, grad))
        s, *bins = _scores(wq, wk, part, biases)
        met = meeting(part.lengths, part.targets, s.shape[-1], window, context).unsqueeze(1)
        share = torch.sigmoid(s)
        ds = (g @ wv.mT) * share * (1 + s * (1 - share)) * met / scale
        results = ds @ wk * alpha, ds.mT @ wq * alpha, (s * share * met / scale).mT @ g
        for whole, padded in zip(grads, results, strict=True):
            whole[part.steps] = _steps(padded, part.real).to(whole.dtype)
        for total, at in zip(sums, bins, strict=True):
            if at is not None:
                total.index_add_(0, at.flatten(), ds.sum(1).flatten())
    return grads[0], grads[1], grads[2], sums[0], sums[1]


differentiable(hstu_attention, hstu_attention_backward, of=("q", "k", "v", "position", "time"))


def _twin(op: str, q: Tensor, v: Tensor, heads: int) -> ModuleType | None:
    return triton_twin(op, q) if max(q.shape[1], v.shape[1]) <= heads * WIDEST else None


# ---- the reference ------------------------------------------------------------------------------


class _Part(NamedTuple):
    """A few rows: their steps, a mask [rows, longest of them] of those that are, their sizes."""

    steps: slice
    real: Tensor
    lengths: Tensor
    targets: Tensor | None


class _Biases(NamedTuple):
    position: Tensor | None
    time: Tensor | None
    times: Tensor | None
    limits: Tensor | None


def _parts(offsets: Tensor, targets: Tensor | None) -> Iterator[_Part]:
    ends = offsets.tolist()
    for first in range(0, len(ends) - 1, _TOGETHER):
        some = ends[first : first + _TOGETHER + 1]
        if some[-1] == some[0]:
            continue
        lengths = offsets[first + 1 : first + len(some)] - offsets[first : first + len(some) - 1]
        place = torch.arange(int(lengths.max()), device=offsets.device)
        chosen = None if targets is None else targets[first : first + len(some) - 1]
        yield _Part(slice(some[0], some[-1]), place < lengths.unsqueeze(-1), lengths, chosen)


def _padded(x: Tensor, real: Tensor, heads: int) -> Tensor:
    """Steps [t, heads * d] as [rows, heads, longest, d], wide, with zeros behind each row."""
    whole = x.new_zeros(*real.shape, x.shape[1], dtype=wide(x))
    whole[real] = x.to(whole.dtype)
    return whole.reshape(*real.shape, heads, -1).transpose(1, 2)


def _steps(x: Tensor, real: Tensor) -> Tensor:
    """What was padded, [rows, heads, longest, d], as steps [t, heads * d]."""
    return x.transpose(1, 2).flatten(2)[real]


def _scores(
    q: Tensor, k: Tensor, part: _Part, biases: _Biases
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(scores with biases [rows, heads, n, n], the distance and the bucket of each pair)."""
    s = q @ k.mT * q.shape[-1] ** -0.5
    distance = bucket = None
    if biases.position is not None:
        history = part.lengths if part.targets is None else part.lengths - part.targets
        stand = torch.minimum(torch.arange(s.shape[-1], device=s.device), history.unsqueeze(1))
        distance = (stand.unsqueeze(2) - stand.unsqueeze(1)).abs()
        distance = distance.clamp(max=len(biases.position) - 1)
        s = s + biases.position.to(s.dtype)[distance].unsqueeze(1)
    if biases.time is not None:
        assert biases.times is not None and biases.limits is not None
        times = biases.times.new_zeros(part.real.shape)
        times[part.real] = biases.times[part.steps]
        apart = (times.unsqueeze(2) - times.unsqueeze(1)).abs()
        bucket = torch.searchsorted(biases.limits, apart, right=True) - 1
        s = s + biases.time.to(s.dtype)[bucket].unsqueeze(1)
    return s, distance, bucket
