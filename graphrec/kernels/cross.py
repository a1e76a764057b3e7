"""`TritonCrossV2`: the twin of `graphrec.nn.interaction.CrossV2`, one operator behind its GEMM."""

from __future__ import annotations

from torch import Tensor

from graphrec.kernels.linear import scaled_by_linear
from graphrec.nn.interaction import CrossV2
from graphrec.nn.split import Split, whole

__all__ = ["TritonCrossV2"]


class TritonCrossV2(CrossV2):
    """A `CrossV2` with the product and the sum in the (last) Linear's epilogue.

    >>> TritonCrossV2(8, rank=2)(torch.ones(3, 8), torch.ones(3, 8)).shape
    torch.Size([3, 8])
    """

    def forward(self, x0: Tensor | Split, x: Tensor | Split) -> Tensor:
        x0, x = whole(x0), whole(x)
        if self.rank is None:
            return scaled_by_linear(x0, x, self.w, skip=x)
        return scaled_by_linear(x0, self.u(x), self.v, skip=x)
