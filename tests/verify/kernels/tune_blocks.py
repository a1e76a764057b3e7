"""Blocks with kernels that are right, wrong, and wrong in one place only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from graphrec.blocks.base import Block, Kernel
from graphrec.ground.shapes import Shape


class Same(nn.Linear):
    """A Linear as torch has it."""


class NoBias(nn.Linear):
    """Forgets the bias."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T


class _HalfGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * 0.5


class WrongGradient(nn.Linear):
    """Right outputs; half the gradient of the input."""

    def forward(self, x: Tensor) -> Tensor:
        halved: Tensor = _HalfGradient.apply(x)  # type: ignore[no-untyped-call]
        return super().forward(halved)


class OddRows(nn.Linear):
    """Leaves the last row out when their number is odd."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y.index_fill(0, torch.tensor([len(y) - 1]), 0.0) if len(y) % 2 else y


class Fails(nn.Linear):
    """Can't be called."""

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no tile fits")


class Slow(nn.Linear):
    """Right, after much for nothing."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(60):
            torch.mm(x.detach(), self.weight.detach().T)
        return super().forward(x)


class Scale(Block):
    """A Linear of equal width."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {
        "torch": "torch.nn:Linear",
        "same": Kernel("tune_blocks:Same"),
        "no_bias": Kernel("tune_blocks:NoBias"),
        "wrong_gradient": Kernel("tune_blocks:WrongGradient"),
        "odd_rows": Kernel("tune_blocks:OddRows"),
        "fails": Kernel("tune_blocks:Fails"),
        "gpu": Kernel("tune_blocks:Same", devices=("cuda",)),
        "absent": Kernel("tune_blocks:Same", needs=("no_such_module",)),
    }

    def infer(self, x: Shape) -> Shape:
        return x

    def args(self, x: Shape) -> dict[str, Any]:
        return {"in_features": x.width, "out_features": x.width}


class Timed(Scale):
    """A Linear with a kernel that is slower."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {
        "torch": "torch.nn:Linear",
        "slow": Kernel("tune_blocks:Slow"),
        "no_bias": Kernel("tune_blocks:NoBias"),
    }


class Quick(Scale):
    """A Linear whose torch layer is the slow one."""

    kernels: ClassVar[Mapping[str, str | Kernel]] = {
        "torch": "tune_blocks:Slow",
        "quick": Kernel("torch.nn:Linear"),
    }
