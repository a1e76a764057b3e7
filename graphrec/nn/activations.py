"""Layers of activations, and the batch norm that Dice and the perceptron share."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.ground.activation_table import (
    ACTIVATIONS,
    Activation,
    read_activation,
    row_of,
)

__all__ = ["BatchNorm", "Dice", "Sigmoid", "Tanh", "activation", "rectifies"]


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
        self.over_ranks: Callable[[Tensor], Tensor] | None = None
        """Sums over the processes that share a batch, differentiably; None: it is whole."""
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
        if self.training and self.over_ranks is not None:
            return self._shared(rows, self.over_ranks).reshape(x.shape)
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

    def _shared(self, rows: Tensor, over_ranks: Callable[[Tensor], Tensor]) -> Tensor:
        """Normalised by the rows of all processes; in double, since sums are subtracted."""
        wide = rows.double()
        count = wide.new_full((1,), rows.shape[0])
        sums = over_ranks(torch.cat([count, wide.sum(0), wide.square().sum(0)]))
        number, width = sums[0].detach(), rows.shape[1]
        if float(number) > 1:
            mean = sums[1 : 1 + width] / number
            var = (sums[1 + width :] / number - mean.square()).clamp(min=0.0)
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
                unbiased = (var * number / (number - 1)).to(self.running_var)
                self.running_var.lerp_(unbiased, self.momentum)
        else:
            mean, var = self.running_mean.double(), self.running_var.double()
        normalised = ((wide - mean) / (var + self.eps).sqrt()).to(rows.dtype)
        if self.weight is not None and self.bias is not None:
            normalised = normalised * self.weight + self.bias
        return normalised

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


class Tanh(nn.Tanh):
    """Tanh; with `inplace` it overwrites its input: its gradient needs the result only."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        return x.tanh_() if self.inplace else x.tanh()


class Sigmoid(nn.Sigmoid):
    """Sigmoid; with `inplace` it overwrites its input: its gradient needs the result only."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        return x.sigmoid_() if self.inplace else x.sigmoid()


def activation(text: str, width: int, inplace: bool = False) -> nn.Module:
    """The activation that a recipe writes so, for inputs [..., width].

    `graphrec.ground.activation_table` has the names and their parameters. `inplace` lets it
    overwrite its input where the gradient allows that; pass it only for a tensor that nobody else
    reads. Raises ValueError for an unknown one.

    >>> activation("leaky_relu(0.2)", 8)
    LeakyReLU(negative_slope=0.2)
    """
    row, given = _row(text)
    module, _, name = row.layer.partition(":")
    layer: Callable[..., nn.Module] = getattr(importlib.import_module(module), name)
    sizes = [width] if row.width else []
    return layer(*sizes, **given, **({"inplace": inplace} if row.inplace else {}))


def rectifies(text: str) -> bool:
    """Whether the weights before this activation start as those before a rectifier do."""
    return _row(text)[0].rectifies


def _row(text: str) -> tuple[Activation, Mapping[str, float | str]]:
    """The table's row, and all parameters."""
    try:
        name, given = read_activation(text)
    except KeyError:
        known = ", ".join(sorted(ACTIVATIONS))
        raise ValueError(f"unknown activation `{text}`; there are {known}") from None
    row = row_of(name)
    assert row is not None, "it was read from there"
    return row, {**{key: parameter.default for key, parameter in row.parameters.items()}, **given}
