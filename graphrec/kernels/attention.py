"""`TritonSelfAttention`: the twin of `graphrec.nn.attention.SelfAttention` without padding."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from graphrec.kernels.ops.jagged_attention import WIDEST, jagged_attention
from graphrec.nn.attention import SelfAttention
from graphrec.nn.batch import Jagged

__all__ = ["TritonSelfAttention"]


class TritonSelfAttention(SelfAttention):
    """A `SelfAttention` whose steps attend in `graphrec::jagged_attention`: same constructor, same
    state_dict keys, same results.

    With heads wider than 128, or with dropout in training, it is a plain `SelfAttention`.

    >>> import torch
    >>> steps = Jagged(torch.ones(5, 8), torch.tensor([2, 0, 3]))
    >>> TritonSelfAttention(8, 16, heads=2)(steps).shape
    torch.Size([3, 16])
    """

    def _attend(self, x: Tensor, steps: Jagged, rows: Tensor, place: Tensor) -> Tensor:
        drops = self.training and self.dropout > 0
        if drops or self.out_proj.in_features > self.heads * WIDEST:
            return super()._attend(x, steps, rows, place)
        # The Linears give autocast's type, so the operator, unknown to autocast, gets it as well.
        q, k, v = self._project(x)
        offsets = F.pad(steps.lengths.cumsum(0), (1, 0))
        mixed: Tensor = jagged_attention(q, k, v, offsets, self.heads)[0]
        return mixed
