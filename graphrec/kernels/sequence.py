"""`TritonDIN`: the twin of `graphrec.nn.sequence.DIN` that runs on fused operators."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from graphrec.kernels.mlp import TritonMLP
from graphrec.kernels.ops.reference import FUSED
from graphrec.kernels.ops.segments import jagged_softmax_sum
from graphrec.kernels.ops.step_linear import step_linear_act
from graphrec.kernels.ops.target_attention import WIDEST, target_attention
from graphrec.nn.batch import Jagged
from graphrec.nn.dense import MLP, Dense
from graphrec.nn.segments import as_jagged
from graphrec.nn.sequence import DIN
from graphrec.nn.shared_history import is_one

__all__ = ["TritonDIN"]


class TritonDIN(DIN):
    """A `DIN` on fused operators: same constructor, same state_dict keys, same results.

    A scorer with one hidden layer and widths up to 64 is one operator, scores, softmax and sum; a
    deeper or wider one is an operator for the first layer, one for each further layer, and one for
    softmax and sum. With a norm, dropout, or an activation that the operators do not know, it is a
    plain `DIN`.

    >>> steps = Jagged(torch.ones(5, 8), torch.tensor([2, 0, 3]))
    >>> TritonDIN(4, 8, [16])(torch.ones(3, 4), steps).shape
    torch.Size([3, 8])
    """

    perceptron: ClassVar[type[MLP]] = TritonMLP

    def forward(self, query: Tensor, keys: Tensor | Jagged) -> Tensor:
        steps = as_jagged(keys)
        drops = self.training and self.attention_dropout > 0
        if drops or is_one(query, steps) or not all(_plain(layer) for layer in self.mlp.layers):
            return super().forward(query, keys)
        first, *rest = (cast(Dense, layer) for layer in self.mlp.layers)
        of_query, of_keys, of_product = self._parts()
        width, depth = query.shape[1], steps.values.shape[1]
        part = F.linear(query.to(of_query.dtype), of_query[:, :width], first.bias)
        # An operator is unknown to autocast: the Linear says what it would have cast to.
        dtype = part.dtype
        values, query = steps.values.to(dtype), F.pad(query.to(dtype), (0, depth - width))
        offsets = F.pad(steps.lengths.cumsum(0), (1, 0))
        inputs = (query, part, values, offsets, of_keys.to(dtype), of_product.to(dtype))
        out = self.mlp.out
        assert out is not None
        if not rest and max(depth, first.out_features) <= WIDEST:
            to_score = out.weight[0].to(dtype), out.bias.to(dtype)
            result: Tensor = target_attention(*inputs, *to_score, first.activation)[0]
            return result
        z: Tensor = step_linear_act(*inputs, first.activation, torch.is_grad_enabled())[0]
        for layer in rest:
            z = layer(z)
        scores: Tensor = out(z).squeeze(-1)
        whole: tuple[Tensor, Tensor] = jagged_softmax_sum(scores, values, offsets)
        return whole[0]


def _plain(layer: object) -> bool:
    layer = cast(Dense, layer)
    bare = layer.norm is None and layer.dropout is None and layer.ready is None
    return bare and layer.activation in FUSED
