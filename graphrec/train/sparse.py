"""Optimizers of packed tables: only the rows of the batch are read and written.

The gradient of a packed table is a sparse tensor over the rows that were looked up, with repeats.
Repeats are summed first, in the order of the batch, so a step is exact and deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from graphrec.nn.native import RowKernel, choose
from graphrec.recipe.training import Optimizer

__all__ = ["RowOptimizer", "merge"]


def merge(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct `rows` [U], ascending, and the float32 sums [U, dim] of the `values` of each."""
    if rows.numel() == 0:
        return rows, values.float()
    ordered, order = torch.sort(rows, stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    torch.ne(ordered[1:], ordered[:-1], out=first[1:])
    starts = first.nonzero().view(-1)
    return ordered[starts], functional.embedding_bag(order, values.float(), starts, mode="sum")


class RowOptimizer:
    """Adagrad, row-wise Adagrad, lazy Adam or SGD on some rows of one packed table [R, dim].

    State is float32, allocated for all rows, touched with them. Adam's moments of a row stand
    still while it is in no batch (as in torch.optim.SparseAdam); weight decay is for touched rows.
    """

    def __init__(self, weight: Tensor, settings: Optimizer, kernel: str = "auto") -> None:
        if settings.name not in self._rules:
            raise ValueError(f"optimizer `{settings.name}` is for dense parameters, not for tables")
        self.weight, self.settings, self.kernel = weight, settings, kernel
        dim = 1 if settings.name == "rowwise_adagrad" else weight.shape[1]
        names = {"adam": ("exp_avg", "exp_avg_sq"), "sgd": ()}.get(settings.name, ("sum",))
        self.slots: Mapping[str, Tensor] = {
            name: torch.zeros(weight.shape[0], dim, device=weight.device) for name in names
        }

    @torch.no_grad()
    def update(
        self, rows: Tensor, values: Tensor, lr: float, weight_decay: float, step: int
    ) -> None:
        """One update from gradients `values` [N, dim] of `rows` [N]; `step` counts from 1."""
        kernel, _ = choose(self.kernel, self.weight)
        if kernel is not None:
            self._native(kernel, rows, values, lr, weight_decay, step)
            return
        rows, grad = merge(rows, values)
        weight = self.weight.detach()
        old = weight.index_select(0, rows).float()
        if weight_decay:
            grad = grad.add(old, alpha=weight_decay)
        new = self._rules[self.settings.name](self, rows, grad, old, lr, step)
        weight.index_copy_(0, rows, new.to(weight.dtype))

    def _native(
        self,
        kernel: RowKernel,
        rows: Tensor,
        values: Tensor,
        lr: float,
        weight_decay: float,
        step: int,
    ) -> None:
        kernel.update(
            self.settings.name,
            self.weight,
            list(self.slots.values()),
            rows.contiguous(),
            values.contiguous(),
            lr=self._size(lr, step),
            weight_decay=weight_decay,
            eps=self.settings.eps,
            betas=self.settings.betas,
        )
        torch.autograd.graph.increment_version(self.weight)

    def _size(self, lr: float, step: int) -> float:
        """The step size: Adam's with its bias correction."""
        if self.settings.name != "adam":
            return lr
        beta1, beta2 = self.settings.betas
        return float(lr * (1.0 - beta2**step) ** 0.5 / (1.0 - beta1**step))

    def _sgd(self, rows: Tensor, grad: Tensor, old: Tensor, lr: float, step: int) -> Tensor:
        return old.add_(grad, alpha=-lr)

    def _adagrad(self, rows: Tensor, grad: Tensor, old: Tensor, lr: float, step: int) -> Tensor:
        total = self.slots["sum"].index_select(0, rows).addcmul_(grad, grad)
        self.slots["sum"].index_copy_(0, rows, total)
        return old.addcdiv_(grad, total.sqrt_().add_(self.settings.eps), value=-lr)

    def _rowwise_adagrad(
        self, rows: Tensor, grad: Tensor, old: Tensor, lr: float, step: int
    ) -> Tensor:
        total = self.slots["sum"].index_select(0, rows).add_(grad.square().mean(1, keepdim=True))
        self.slots["sum"].index_copy_(0, rows, total)
        return old.addcdiv_(grad, total.sqrt_().add_(self.settings.eps), value=-lr)

    def _adam(self, rows: Tensor, grad: Tensor, old: Tensor, lr: float, step: int) -> Tensor:
        beta1, beta2 = self.settings.betas
        mean = self.slots["exp_avg"].index_select(0, rows).lerp_(grad, 1.0 - beta1)
        self.slots["exp_avg"].index_copy_(0, rows, mean)
        square = self.slots["exp_avg_sq"].index_select(0, rows)
        square.mul_(beta2).addcmul_(grad, grad, value=1.0 - beta2)
        self.slots["exp_avg_sq"].index_copy_(0, rows, square)
        size = self._size(lr, step)
        return old.addcdiv_(mean, square.sqrt_().add_(self.settings.eps), value=-size)

    _rules: ClassVar[Mapping[str, Callable[..., Tensor]]] = {
        "sgd": _sgd,
        "adagrad": _adagrad,
        "rowwise_adagrad": _rowwise_adagrad,
        "adam": _adam,
    }
