"""`TritonMLP`: the twin of `graphrec.nn.dense.MLP` whose layers are one fused operator each."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from graphrec.kernels.linear import act_of_linear, act_of_norm
from graphrec.kernels.ops.linear_norm_act import WIDEST
from graphrec.kernels.ops.reference import FUSED
from graphrec.nn.dense import MLP, Dense
from graphrec.nn.split import Split

__all__ = ["TritonDense", "TritonMLP"]


class TritonDense(Dense):
    """A `Dense` that is one operator: `graphrec::linear_act`, or with a layer norm
    `graphrec::linear_norm_act`; dropout follows in torch.

    With a batch norm, a layer norm wider than 4096, an activation that the operators do not know,
    or a `Split` as input it is a plain `Dense`.
    """

    def forward(self, x: Tensor | Split) -> Tensor:
        norm = self.norm if isinstance(self.norm, nn.LayerNorm) else None
        fits = self.norm is None or (norm is not None and self.out_features <= WIDEST)
        if isinstance(x, Split) or not fits or self.activation not in FUSED:
            return super().forward(x)
        if norm is None:
            weight, bias = self.affine()
            x = x if self.ready is None else x.to(weight.dtype)
            y = act_of_linear(x, weight, bias, self.activation)
        else:
            y = act_of_norm(x, self.weight, self.bias, norm, self.activation)
        return y if self.dropout is None else self.dropout(y)


class TritonMLP(MLP):
    """An `MLP` of `TritonDense` layers: same constructor, same state_dict keys, same results.

    >>> TritonMLP(8, [4, 2], out=1)(torch.zeros(3, 8)).shape
    torch.Size([3, 1])
    """

    layer: ClassVar[type[Dense]] = TritonDense
