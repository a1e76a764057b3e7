"""Experts mixed by gates: sums of [B, D] weighted by the softmax of logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from graphrec.nn.native.passes import Passes, passes

__all__ = ["mix", "mix_all", "without_some"]


def without_some(logits: Tensor, rate: float) -> Tensor:
    """Logits [..., K] where each is -inf with probability `rate`: softmax leaves those experts out.

    A gate that would lose all its experts keeps them. Zhao et al., Recommending What Video to
    Watch Next, RecSys 2019.
    """
    lost = torch.rand_like(logits, dtype=torch.float32) < rate
    lost = lost & ~lost.all(dim=-1, keepdim=True)
    return logits.masked_fill(lost, float("-inf"))


def mix(logits: Tensor, experts: Sequence[Tensor]) -> Tensor:
    """Sum over k of softmax(logits)_k [B, K] times expert k [B, D]."""
    return mix_all(logits.unsqueeze(1), experts)[0]


def mix_all(logits: Tensor, experts: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """`mix` for gates [B, T, K] over the same experts, [B, D] each."""
    low = experts[0].dtype == torch.bfloat16 and logits.device.type == "cpu"
    weights = torch.softmax(logits, dim=2, dtype=torch.float32 if low else None)
    if _passes_for(weights, experts) is not None:
        mixed: tuple[Tensor, ...] = _Mix.apply(weights, *experts)  # type: ignore[no-untyped-call]
        return mixed
    weights = weights.to(logits.dtype)
    if weights.shape[1] > 1:
        return torch.bmm(weights, torch.stack(list(experts), dim=1)).unbind(1)
    # A batched product with one row per matrix is far slower than these few passes.
    first, *rest = torch.split(weights[:, 0], 1, dim=1)
    one: Tensor = first * experts[0]
    for weight, expert in zip(rest, experts[1:], strict=True):
        one = torch.addcmul(one, weight, expert)
    return (one,)


class _Mix(torch.autograd.Function):
    """One pass over the experts, and one over them and the gradients."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, *experts: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(weights, *experts)
        fused = passes()
        assert fused is not None
        return tuple(fused.mix(weights, experts))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        weights, *experts = ctx.saved_tensors
        fused = passes()
        assert fused is not None
        of_weights, of_experts = fused.unmix(weights, experts, grads)
        return of_weights, *of_experts


def _passes_for(weights: Tensor, experts: Sequence[Tensor]) -> Passes | None:
    """The compiled passes where they know such tensors: on a CPU, experts of one type."""
    types = {expert.dtype for expert in experts}
    known = (
        not torch.compiler.is_compiling()
        and all(type(given) is Tensor for given in (weights, *experts))
        and weights.device.type == "cpu"
        and weights.dtype == torch.float32
        and types in ({torch.float32}, {torch.bfloat16})
        and all(expert.stride(1) == 1 for expert in experts)
    )
    return passes() if known else None
