"""Activations by name, and the batch norm that Dice and the perceptron share."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ACTIVATIONS", "BatchNorm", "Dice", "activation"]


class BatchNorm(nn.Module):
    """Batch norm over the last axis of [..., D]; every leading axis counts as rows.

    The state is `weight`, `bias` (only if `affine`), `running_mean` and `running_var`, each [D].
    Fewer than two rows have no variance: then, in training too, the running statistics normalise
    and are left as they are (a batch whose histories hold one step, or none).
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, width: int, affine: bool = True, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.empty(width)) if affine else None
        self.bias = nn.Parameter(torch.empty(width)) if affine else None
        self.register_buffer("running_mean", torch.empty(width))
        self.register_buffer("running_var", torch.empty(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1, shift 0, mean 0, variance 1."""
        with torch.no_grad():
            self.running_mean.zero_()
            self.running_var.fill_(1.0)
            if self.weight is not None and self.bias is not None:
                self.weight.fill_(1.0)
                self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        return F.batch_norm(
            rows,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training and rows.shape[0] > 1,
            self.momentum,
            self.eps,
        ).reshape(x.shape)

    def extra_repr(self) -> str:
        affine = "" if self.weight is not None else ", affine=False"
        return f"{self.running_mean.shape[0]}{affine}"


class Dice(BatchNorm):
    """Dice over the last axis of [..., D]: a (1 - p) x + p x with p = sigmoid(batch norm of x).

    `alpha` [D] starts at 0. Zhou et al., Deep Interest Network for Click-Through Rate Prediction,
    2018.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__(width, affine=False, eps=eps)
        self.alpha = nn.Parameter(torch.zeros(width))

    def reset_parameters(self) -> None:
        """Slope 0, mean 0, variance 1."""
        super().reset_parameters()
        if hasattr(self, "alpha"):  # the base class resets its own part before it exists
            nn.init.zeros_(self.alpha)

    def forward(self, x: Tensor) -> Tensor:
        p = torch.sigmoid(super().forward(x))
        return x * torch.lerp(self.alpha.to(p.dtype), p.new_ones(()), p)


class _Tanh(nn.Tanh):
    """Tanh that overwrites its input: its gradient needs the result only."""

    def forward(self, x: Tensor) -> Tensor:
        return x.tanh_()


class _Sigmoid(nn.Sigmoid):
    """Sigmoid that overwrites its input: its gradient needs the result only."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sigmoid_()


_MAKE: dict[str, Callable[[int, bool], nn.Module]] = {
    "dice": lambda width, inplace: Dice(width),
    "gelu": lambda width, inplace: nn.GELU(),
    "leaky_relu": lambda width, inplace: nn.LeakyReLU(0.01, inplace=inplace),
    "none": lambda width, inplace: nn.Identity(),
    "prelu": lambda width, inplace: nn.PReLU(),
    "relu": lambda width, inplace: nn.ReLU(inplace=inplace),
    "sigmoid": lambda width, inplace: _Sigmoid() if inplace else nn.Sigmoid(),
    "silu": lambda width, inplace: nn.SiLU(),
    "tanh": lambda width, inplace: _Tanh() if inplace else nn.Tanh(),
}

ACTIVATIONS = tuple(_MAKE)
"""The names that `activation` knows."""


def activation(name: str, width: int, inplace: bool = False) -> nn.Module:
    """The activation of that name for inputs [..., width].

    `inplace` lets it overwrite its input where the gradient allows that; pass it only for a tensor
    that nobody else reads. `gelu` is the exact one (erf), `leaky_relu` has slope 0.01 and
    `leaky_relu(0.2)` another, `prelu` has one learnt slope, initially 0.25.

    >>> activation("relu", 8)
    ReLU()
    """
    if sloped := re.fullmatch(r"leaky_relu\(([0-9.]+)\)", name):
        return nn.LeakyReLU(float(sloped[1]), inplace=inplace)
    make = _MAKE.get(name)
    if make is None:
        raise ValueError(f"unknown activation `{name}`; there are {', '.join(ACTIVATIONS)}")
    return make(width, inplace)
