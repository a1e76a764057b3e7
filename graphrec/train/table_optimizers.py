"""Optimizers of packed tables: only the rows of the batch are read and written.

The gradient of a packed table is a sparse tensor over the rows that were looked up, with repeats.
Repeats are summed first, in the order of the batch, so a step is exact and deterministic.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from graphrec.nn.huge_pages import in_huge_pages
from graphrec.nn.native import RowKernel, TableStep, choose
from graphrec.nn.native.fbgemm import choose_fbgemm
from graphrec.recipe.optimizer_table import OPTIMIZERS
from graphrec.recipe.training import Optimizer

__all__ = [
    "Change",
    "RowOptimizer",
    "RowUpdate",
    "adagrad_rows",
    "adam_rows",
    "merge",
    "rowwise_adagrad_rows",
    "sgd_rows",
    "update_rows",
    "update_together",
]


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
        row = OPTIMIZERS[settings.name]
        if not row.sparse:
            raise ValueError(f"optimizer `{settings.name}` is for dense parameters, not for tables")
        module, _, name = row.sparse.partition(":")
        self._rule: Callable[[RowUpdate], Tensor] = getattr(importlib.import_module(module), name)
        self.weight, self.settings, self.kernel = weight, settings, kernel
        if kernel == "fbgemm":  # say now what it can't do
            choose_fbgemm(kernel, weight, settings.name, settings.weight_decay)
        dim = 1 if row.by_row else weight.shape[1]
        self.slots: Mapping[str, Tensor] = {
            slot: in_huge_pages(torch.empty(weight.shape[0], dim, device=weight.device)).zero_()
            for slot in row.sparse_slots
        }

    @torch.no_grad()
    def update(
        self, rows: Tensor, values: Tensor, lr: float, weight_decay: float, step: int
    ) -> None:
        """One update from gradients `values` [N, dim] of `rows` [N]; `step` counts from 1."""
        kernel = self.native_kernel()
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
        new = self._rule(RowUpdate(self.slots, rows, grad, old, lr, step, self.settings))
        weight.index_copy_(0, rows, new.to(weight.dtype))

    def native_kernel(self) -> RowKernel | None:
        """The C++ kernel that updates this table, if it is to and knows the rule."""
        known = OPTIMIZERS[self.settings.name].native
        return choose(self.kernel, self.weight)[0] if known else None

    def table_step(self, values: Tensor, lr: float, weight_decay: float, step: int) -> TableStep:
        """This table's part of an update by the native kernel."""
        slots, grads = list(self.slots.values()), values.to(self.weight.dtype).contiguous()
        return TableStep(self.weight, slots, grads, self._size(lr, step), weight_decay)

    def _size(self, lr: float, step: int) -> float:
        """The step size: Adam's with its bias correction."""
        return corrected_rate(self.settings, lr, step) if self.settings.name == "adam" else lr


class RowUpdate(NamedTuple):
    """What a rule is given: distinct `rows` [U], their summed gradients and weights in float32.

    `slots` are the whole table's; a rule reads and writes them at `rows`.
    """

    slots: Mapping[str, Tensor]
    rows: Tensor
    grad: Tensor
    old: Tensor
    lr: float
    step: int
    settings: Optimizer


def sgd_rows(update: RowUpdate) -> Tensor:
    """Gradient descent: the new weights [U, dim]."""
    return update.old.add_(update.grad, alpha=-update.lr)


def adagrad_rows(update: RowUpdate) -> Tensor:
    """Adagrad: the new weights [U, dim]."""
    return _by_sum_of_squares(update, update.grad.square())


def rowwise_adagrad_rows(update: RowUpdate) -> Tensor:
    """Adagrad with the mean of a row's squares: the new weights [U, dim]."""
    return _by_sum_of_squares(update, update.grad.square().mean(1, keepdim=True))


def adam_rows(update: RowUpdate) -> Tensor:
    """Adam on rows of the batch alone: the new weights [U, dim]."""
    beta1, beta2 = update.settings.betas
    means, squares = update.slots["exp_avg"], update.slots["exp_avg_sq"]
    mean = means.index_select(0, update.rows).lerp_(update.grad, 1.0 - beta1)
    means.index_copy_(0, update.rows, mean)
    square = squares.index_select(0, update.rows)
    square.mul_(beta2).addcmul_(update.grad, update.grad, value=1.0 - beta2)
    squares.index_copy_(0, update.rows, square)
    size = corrected_rate(update.settings, update.lr, update.step)
    return update.old.addcdiv_(mean, square.sqrt_().add_(update.settings.eps), value=-size)


def corrected_rate(settings: Optimizer, lr: float, step: int) -> float:
    """Adam's step size with its bias correction."""
    beta1, beta2 = settings.betas
    return float(lr * (1.0 - beta2**step) ** 0.5 / (1.0 - beta1**step))


def _by_sum_of_squares(update: RowUpdate, square: Tensor) -> Tensor:
    sums = update.slots["sum"]
    total = sums.index_select(0, update.rows).add_(square)
    sums.index_copy_(0, update.rows, total)
    return update.old.addcdiv_(
        update.grad, total.sqrt_().add_(update.settings.eps), value=-update.lr
    )


class Change(NamedTuple):
    """What one table is updated with: its sparse gradient [R, dim], uncoalesced, and its rates."""

    optimizer: RowOptimizer
    grad: Tensor
    lr: float
    weight_decay: float


@torch.no_grad()
def update_rows(changes: Iterable[Change], step: int) -> None:
    """One update of several tables; those that were read at the same rows are updated together."""
    groups: list[tuple[RowKernel, Optimizer, Tensor, list[TableStep]]] = []
    for change in changes:
        optimizer, settings = change.optimizer, change.optimizer.settings
        rows, values = change.grad._indices()[0], change.grad._values()
        kernel = optimizer.native_kernel()
        if kernel is None:
            optimizer.update(rows, values, change.lr, change.weight_decay, step)
            continue
        table = optimizer.table_step(values, change.lr, change.weight_decay, step)
        for known, theirs, read, tables in groups:
            if known is kernel and theirs == settings and _same(read, rows):
                tables.append(table)
                break
        else:
            groups.append((kernel, settings, rows, [table]))
    for kernel, settings, rows, tables in groups:
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
