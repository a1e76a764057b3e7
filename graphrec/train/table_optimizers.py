"""Optimizers of packed tables: only the rows of the batch are read and written.

The gradient of a packed table is a sparse tensor over the rows that were looked up, with repeats.
Repeats are summed first, in the order of the batch, so a step is exact and deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from graphrec.nn.memory import in_huge_pages
from graphrec.nn.native import RowKernel, TableStep, choose
from graphrec.nn.native.fbgemm import choose_fbgemm
from graphrec.recipe.training import Optimizer

__all__ = ["Change", "RowOptimizer", "merge", "update_rows", "update_together"]


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
        if kernel == "fbgemm":  # say now what it can't do
            choose_fbgemm(kernel, weight, settings.name, settings.weight_decay)
        dim = 1 if settings.name == "rowwise_adagrad" else weight.shape[1]
        names = {"adam": ("exp_avg", "exp_avg_sq"), "sgd": ()}.get(settings.name, ("sum",))
        self.slots: Mapping[str, Tensor] = {
            name: in_huge_pages(torch.empty(weight.shape[0], dim, device=weight.device)).zero_()
            for name in names
        }

    @torch.no_grad()
    def update(
        self, rows: Tensor, values: Tensor, lr: float, weight_decay: float, step: int
    ) -> None:
        """One update from gradients `values` [N, dim] of `rows` [N]; `step` counts from 1."""
        kernel, _ = choose(self.kernel, self.weight)
        if kernel is not None:
            table = self.table_step(values, lr, weight_decay, step)
            update_together(kernel, self.settings, rows, [table])
            return
        fbgemm = choose_fbgemm(self.kernel, self.weight, self.settings.name, weight_decay)
        if fbgemm is not None and rows.numel():
            given = list(self.slots.values()), rows.contiguous(), values.contiguous()
            fbgemm.update(self.settings.name, self.weight, *given, lr=lr, eps=self.settings.eps)
            torch.autograd.graph.increment_version(self.weight)
            return
        rows, grad = merge(rows, values)
        weight = self.weight.detach()
        old = weight.index_select(0, rows).float()
        if weight_decay:
            grad = grad.add(old, alpha=weight_decay)
        new = self._rules[self.settings.name](self, rows, grad, old, lr, step)
        weight.index_copy_(0, rows, new.to(weight.dtype))

    def table_step(self, values: Tensor, lr: float, weight_decay: float, step: int) -> TableStep:
        """This table's part of an update by the native kernel."""
        slots, grads = list(self.slots.values()), values.to(self.weight.dtype).contiguous()
        return TableStep(self.weight, slots, grads, self._size(lr, step), weight_decay)

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


class Change(NamedTuple):
    """What one table is updated with: its sparse gradient [R, dim], uncoalesced, and its rates."""

    optimizer: RowOptimizer
    grad: Tensor
    lr: float
    weight_decay: float


@torch.no_grad()
def update_rows(changes: Iterable[Change], step: int) -> None:
    """One update of several tables; those that were read at the same rows are updated together."""
    together: list[tuple[RowKernel, Optimizer, Tensor, list[TableStep]]] = []
    for change in changes:
        optimizer, settings = change.optimizer, change.optimizer.settings
        rows, values = change.grad._indices()[0], change.grad._values()
        kernel, _ = choose(optimizer.kernel, optimizer.weight)
        if kernel is None:
            optimizer.update(rows, values, change.lr, change.weight_decay, step)
            continue
        table = optimizer.table_step(values, change.lr, change.weight_decay, step)
        for known, theirs, found, tables in together:
            if known is kernel and theirs == settings and _same(found, rows):
                tables.append(table)
                break
        else:
            together.append((kernel, settings, rows, [table]))
    for kernel, settings, rows, tables in together:
        update_together(kernel, settings, rows, tables)


def update_together(
    kernel: RowKernel, settings: Optimizer, rows: Tensor, tables: Sequence[TableStep]
) -> None:
    """One update of tables that were all read at `rows`, by the native kernel."""
    name, eps, betas = settings.name, settings.eps, settings.betas
    kernel.update(name, rows.contiguous(), tables, eps=eps, betas=betas)
    for table in tables:
        torch.autograd.graph.increment_version(table.weight)


def _same(one: Tensor, two: Tensor) -> bool:
    if one.shape != two.shape:
        return False
    # Tables of different widths are mostly read by one plan, which is the same memory.
    return one.data_ptr() == two.data_ptr() or torch.equal(one, two)
