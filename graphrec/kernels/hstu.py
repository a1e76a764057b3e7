"""`TritonHSTU`: the twin of `graphrec.nn.hstu.HSTU` whose attention is a Triton kernel."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from graphrec.kernels.ops.hstu_attention import WIDEST, hstu_attention
from graphrec.nn.hstu import HSTU, HSTULayer
from graphrec.nn.hstu_attention import Bias

__all__ = ["TritonHSTU"]


class _Unit(HSTULayer):
    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        lengths: Tensor,
        bias: Bias,
        targets: Tensor | None,
        context: int,
    ) -> Tensor:
        drops = self.training and self.attention_dropout > 0
        if drops or max(self.head_width, self.value_width) > WIDEST:
            return super()._attend(q, k, v, lengths, bias, targets, context)
        # The Linear gives autocast's type, so the operator, unknown to autocast, gets it as well.
        offsets = F.pad(lengths.cumsum(0), (1, 0))
        window, scale = self.window, float(self.max_len)
        attended: Tensor = hstu_attention(
            q, k, v, offsets, targets, *bias, self.heads, scale, window, context
        )
        return attended


class TritonHSTU(HSTU):
    """An `HSTU` whose steps attend in `graphrec::hstu_attention`: same constructor, same
    state_dict keys, same results.

    With heads wider than 128, or with attention_dropout in training, it is a plain `HSTU`.

    >>> import torch
    >>> from graphrec.nn import Jagged
    >>> steps = Jagged(torch.ones(5, 8), torch.tensor([2, 0, 3]))
    >>> TritonHSTU(8, layers=1, heads=2, head_width=4)(steps).shape
    torch.Size([3, 8])
    """

    unit = _Unit
