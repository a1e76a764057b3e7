"""HSTU's attention for the tests of its kernels: random inputs, and one pair after another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphrec.kernels.ops.hstu_attention import hstu_attention
from graphrec.nn.hstu_attention import time_limits

__all__ = ["LENGTHS", "agrees", "at_edges", "given", "run"]

LENGTHS = (0, 3, 0, 22, 1, 17, 0, 5)


def given(
    lengths: tuple[int, ...] = LENGTHS,
    width: int = 5,
    value: int = 3,
    heads: int = 2,
    dtype: torch.dtype = torch.float64,
    candidates: int = 0,
    window: int = 0,
    context: int = 0,
    positions: int = 0,
    buckets: int = 0,
) -> dict[str, Any]:
    """Arguments of the operator, drawn anew and alike each time."""
    torch.manual_seed(1)
    total = sum(lengths)
    sizes = torch.tensor(lengths)
    q, k = torch.randn(2, total, heads * width, dtype=torch.float64).to(dtype).unbind()
    return {
        "q": q,
        "k": k,
        "v": torch.randn(total, heads * value, dtype=torch.float64).to(dtype),
        "offsets": torch.tensor([0, *lengths]).cumsum(0),
        "targets": sizes.clamp(max=candidates) if candidates else None,
        "position": torch.randn(positions, dtype=torch.float64).to(dtype) if positions else None,
        "time": torch.randn(buckets, dtype=torch.float64).to(dtype) if buckets else None,
        "times": torch.randint(0, 90, (total,)) if buckets else None,
        "limits": time_limits(buckets) if buckets else None,
        "heads": heads,
        "scale": 7.0,
        "window": window,
        "context": context,
    }


def run(how: Any, arguments: dict[str, Any], dtype: torch.dtype) -> list[Tensor]:
    """The output, and the gradients of q, k, v and the biases there are."""
    names = [n for n in ("q", "k", "v", "position", "time") if arguments[n] is not None]
    leaves = {n: arguments[n].to(dtype).clone().requires_grad_() for n in names}
    out = how(**{**arguments, **leaves})
    seeded = torch.Generator().manual_seed(4)
    grad = torch.randn(out.shape, generator=seeded, dtype=torch.float64)
    grads = torch.autograd.grad(
        out, list(leaves.values()), grad.to(out.dtype), allow_unused=True, materialize_grads=True
    )
    return [out.detach(), *grads]


def at_edges() -> dict[str, Any]:
    """One row whose times are at least differences of buckets, small and beyond float32, or 1 off.

    The first step's time is 0, so that each is the difference to it.
    """
    arguments = given((97,), 2, 2, 1, buckets=110)
    limits = arguments["limits"]
    edges = torch.cat([limits[2:10], limits[2:10] - 1, limits[40:100:3] - 1, limits[40:100]])
    arguments["times"] = torch.cat([edges[:1] * 0, edges]).sort().values
    return arguments


def agrees(arguments: dict[str, Any], dtype: torch.dtype, limit: float) -> None:
    """The operator's output and gradients are those of single pairs in float64."""
    exact = run(pair_by_pair, arguments, torch.float64)
    for ours, right in zip(run(hstu_attention, arguments, dtype), exact, strict=True):
        assert ours.shape == right.shape and ours.isfinite().all()
        floor = max(float(right.norm()), 1e-3 * float(exact[0].norm()))
        off = float((ours.double() - right).norm())
        assert off <= limit * floor if floor else off == 0, (off, floor)


def pair_by_pair(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, targets: Tensor | None,
    position: Tensor | None, time: Tensor | None, times: Tensor | None, limits: Tensor | None,
    heads: int, scale: float, window: int, context: int,
) -> Tensor:  # fmt: skip
    """Every pair of steps by the rule, without matrices of pairs, masks or ids."""
    total = q.shape[0]
    q, k, v = (x.reshape(total, heads, x.shape[1] // heads) for x in (q, k, v))
    rows = []
    for row in range(len(offsets) - 1):
        start, end = int(offsets[row]), int(offsets[row + 1])
        history = end - start - (0 if targets is None else int(targets[row]))
        first = min(context, history)
        for i in range(end - start):
            sums = torch.zeros_like(v[0])
            for j in range(end - start):
                if not _meet(i, j, history, first, window):
                    continue
                s = (q[start + i] * k[start + j]).sum(-1) * q.shape[-1] ** -0.5
                if position is not None:
                    apart = abs(min(i, history) - min(j, history))
                    s = s + position[min(apart, len(position) - 1)]
                if time is not None and times is not None and limits is not None:
                    gap = abs(int(times[start + i]) - int(times[start + j]))
                    s = s + time[max(b for b in range(len(limits)) if int(limits[b]) <= gap)]
                sums = sums + (s * torch.sigmoid(s) / scale).unsqueeze(-1) * v[start + j]
            rows.append(sums)
    return torch.stack(rows).flatten(1) if rows else (v * 0).flatten(1) + q.sum() + k.sum()


def _meet(i: int, j: int, history: int, first: int, window: int) -> bool:
    if i == j or (i < first and j < history):
        return True
    if i < first or j >= min(i, history):
        return False
    # All of the context is one step, all candidates are one.
    apart = min(i, history) - max(j, first - 1 if first else j)
    return not window or apart <= window
