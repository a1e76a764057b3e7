"""HSTU's pointwise attention over histories: silu(q k^T alpha + bias) v / scale, without a softmax.

Two forms give the same numbers: a compiled one on the CPU, which computes real pairs alone and
keeps no [L, L] in memory, and a padded one of plain torch operations, for every other device,
precision, transformation and for the meta device.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from graphrec.nn.batch import Jagged
from graphrec.nn.native.hstu import HSTUKernel, Setting, hstu_kernel
from graphrec.nn.segments import longest, places

__all__ = ["Bias", "hstu_attention", "meeting", "padded_attention", "time_limits"]


_KNOWN = (torch.float32, torch.bfloat16)


class Bias(NamedTuple):
    """Numbers added to the scores: by distance of two steps [P], by bucket of their time [N].

    `times` [T] are whole numbers (int64); `limits` [N] the least difference of each bucket.
    """

    position: Tensor | None = None
    time: Tensor | None = None
    times: Tensor | None = None
    limits: Tensor | None = None


def time_limits(buckets: int) -> Tensor:
    """The least time difference of every bucket, int64: bucket b starts at e^(0.301 b).

    Zhai et al., 2024, take floor(log(max(1, |t|)) / 0.301): about 2.3 buckets for each doubling.
    """
    starts = torch.ceil(torch.exp(0.301 * torch.arange(buckets, dtype=torch.float64)))
    starts[0] = 0
    return starts.to(torch.int64)


def hstu_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Tensor,
    *,
    scale: float,
    bias: Bias | None = None,
    targets: Tensor | None = None,
    window: int = 0,
    context: int = 0,
    dropout: float = 0.0,
) -> Tensor:
    """Attended values [T, H, E] of q, k [T, H, D] and v [T, H, E], rows of `lengths` [B].

    A step meets itself and those before it; with a `window` only so many of them. The last
    `targets` [B] steps of a row are candidates: they meet the history and themselves, never each
    other. The first `context` steps meet the whole history. alpha is D^-0.5. With `dropout` the
    padded form drops weights of pairs, and keeps [L, L] of them.
    """
    bias = bias or Bias()
    alpha = q.shape[-1] ** -0.5
    kernel = None if dropout else _kernel(q)
    if kernel is None:
        return padded_attention(
            q,
            k,
            v,
            lengths,
            scale=scale,
            bias=bias,
            targets=targets,
            window=window,
            context=context,
            dropout=dropout,
        )
    starts = F.pad(lengths.cumsum(0), (1, 0))
    setting = Setting(starts, targets, alpha, scale, window, context, bias.times, bias.limits)
    # Under autocast the products around it give bfloat16; sums over a history want float32.
    given = (x.float().contiguous() for x in (q, k, v))
    out: Tensor = _Compiled.apply(*given, bias.position, bias.time, setting)  # type: ignore[no-untyped-call]
    return out.to(v.dtype)


class _Compiled(torch.autograd.Function):
    """The compiled form; its backward computes the scores again instead of keeping them."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        position: Tensor | None,
        time: Tensor | None,
        setting: Setting,
    ) -> Tensor:
        ctx.save_for_backward(q, k, v, position, time)
        ctx.setting = setting
        kernel = hstu_kernel()
        assert kernel is not None
        return kernel.forward(q, k, v, position, time, setting)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        kernel = hstu_kernel()
        assert kernel is not None
        q, k, v, position, time = ctx.saved_tensors
        grad = grad.contiguous()
        return *kernel.backward(grad, q, k, v, position, time, ctx.setting), None


def _kernel(q: Tensor) -> HSTUKernel | None:
    known = q.device.type == "cpu" and q.dtype in _KNOWN and type(q) is Tensor
    return hstu_kernel() if known and not torch.compiler.is_compiling() else None


# ---- the padded form ----------------------------------------------------------------------------


def padded_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Tensor,
    *,
    scale: float,
    bias: Bias | None = None,
    targets: Tensor | None = None,
    window: int = 0,
    context: int = 0,
    dropout: float = 0.0,
) -> Tensor:
    """`hstu_attention` by plain torch operations, padded to the longest row: [B, H, N, N]."""
    alpha = q.shape[-1] ** -0.5
    weights = _weights(q, k, lengths, alpha, bias or Bias(), targets, window, context) / scale
    return _attended(F.dropout(weights, dropout), v, lengths)


def _padded(x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """x [T, ...] as [B, N, ...] with zeros behind each row, and every step's place in [B * N]."""
    steps = Jagged(x, lengths)
    rows, length = steps.rows(), longest(steps)
    at = rows * length + places(steps, rows)
    whole = x.new_zeros(steps.num_rows * length, *x.shape[1:]).index_copy(0, at, x)
    return whole.reshape(steps.num_rows, length, *x.shape[1:]), at


def _weights(
    q: Tensor,
    k: Tensor,
    lengths: Tensor,
    alpha: float,
    bias: Bias,
    targets: Tensor | None,
    window: int,
    context: int,
) -> Tensor:
    """silu of the scores where a step meets another, else 0, [B, H, N, N]."""
    queries, keys = (_padded(x, lengths)[0].transpose(1, 2) for x in (q, k))
    scores = queries @ keys.transpose(2, 3) * alpha
    length = scores.shape[-1]
    steps = torch.arange(length, device=q.device)
    if bias.position is not None:
        # All candidates stand where the first one does: none is further from the history.
        history = lengths if targets is None else lengths - targets
        stand = torch.minimum(steps, history.unsqueeze(1))
        distance = (stand.unsqueeze(2) - stand.unsqueeze(1)).abs()
        position = bias.position[distance.clamp(max=bias.position.shape[0] - 1)]
        scores = scores + position.unsqueeze(1)
    if bias.time is not None:
        assert bias.times is not None and bias.limits is not None
        times = _padded(bias.times, lengths)[0]
        apart = (times.unsqueeze(2) - times.unsqueeze(1)).abs()
        bucket = torch.searchsorted(bias.limits, apart, right=True) - 1
        scores = scores + bias.time[bucket].unsqueeze(1)
    meets = meeting(lengths, targets, length, window, context)
    return F.silu(scores) * meets.unsqueeze(1)


def meeting(
    lengths: Tensor, targets: Tensor | None, longest: int, window: int, context: int
) -> Tensor:
    """Which step meets which, [B, longest, longest]: by ids, where all of the context has 0.

    `lengths` [B] are those of the rows, candidates (`targets` [B]) among them.
    """
    steps = torch.arange(longest, device=lengths.device)
    history = (lengths if targets is None else lengths - targets).unsqueeze(1)
    first = torch.clamp(history, max=context)
    ids = torch.minimum(steps, history)  # all candidates have one id: none is before another
    ids = torch.where(first > 0, (ids - first + 1).clamp(min=0), ids)
    before = ids.unsqueeze(2) - ids.unsqueeze(1)
    meets = before > 0
    if window:
        meets = meets & (before <= window)
    if context:
        in_context = (steps < first).unsqueeze(2)
        meets = meets | (in_context & (steps < history).unsqueeze(1))
    return meets | torch.eye(steps.shape[0], dtype=torch.bool, device=steps.device)


def _attended(weights: Tensor, v: Tensor, lengths: Tensor) -> Tensor:
    values, at = _padded(v, lengths)
    mixed = (weights @ values.transpose(1, 2)).transpose(1, 2)
    return mixed.flatten(0, 1).index_select(0, at)
