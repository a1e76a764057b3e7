"""Optimizers of dense parameters: torch's own updates, fused where they can be, state by name.

The updates are torch.optim's functions, but for Adam on a CPU, which has a kernel of its own.
torch's classes would do, but making one imports its compiler, which takes longer than everything
else between the command and the first step; and their fused kernels read memory as it lies, so
that a gradient or a state of another layout than its parameter is paired with the wrong weights.
Here every gradient and every state has its parameter's own layout, and kernels get all of them as
the one line of memory that they then are; a parameter with gaps in its memory is updated unfused.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.adagrad import adagrad
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from graphrec.nn.native.adam import AdamState, adam_kernel, fits
from graphrec.recipe.optimizer_table import OPTIMIZERS
from graphrec.recipe.training import Optimizer

__all__ = [
    "DenseOptimizer",
    "Group",
    "Update",
    "update_adagrad",
    "update_adam",
    "update_adamw",
    "update_sgd",
]

State = dict[str, Tensor]


@dataclass
class Group:
    """Parameters with one learning rate and weight decay."""

    params: Sequence[nn.Parameter]
    lr: float
    weight_decay: float = 0.0


class Update(NamedTuple):
    """Parameters with their gradients and slots, all of a parameter laid out alike.

    `fused`: memory may be read as it lies. An update changes parameters and slots in place; slots
    that are not there yet (momentum) it puts into `states`.
    """

    settings: Optimizer
    params: list[Tensor]
    grads: list[Tensor]
    states: list[State]
    lr: float
    weight_decay: float
    fused: bool

    def slots(self, name: str) -> list[Tensor]:
        """One slot of every parameter."""
        return [state[name] for state in self.states]


class DenseOptimizer:
    """The optimizer of `settings` over `groups`; `state` has the slots of the parameters seen."""

    def __init__(self, settings: Optimizer, groups: Sequence[Group]) -> None:
        self._row = OPTIMIZERS[settings.name]
        if not self._row.dense:
            raise ValueError(f"optimizer `{settings.name}` is for tables, not dense parameters")
        module, _, name = self._row.dense.partition(":")
        self._update: Callable[[Update], None] = getattr(importlib.import_module(module), name)
        self.settings, self.groups = settings, list(groups)
        self.state: dict[nn.Parameter, State] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.groups:
            seen = [parameter for parameter in group.params if parameter.grad is not None]
            lines = [parameter for parameter in seen if _is_one_line(parameter)]
            known = set(lines)
            self._step(group, lines, fused=True)
            self._step(group, [p for p in seen if p not in known], fused=False)

    def _step(self, group: Group, params: Sequence[nn.Parameter], *, fused: bool) -> None:
        if not params:
            return
        read = _line if fused else _as_it_is
        grads = [read(_like(p, p.grad)) for p in params if p.grad is not None]
        states = [
            {name: slot if slot.dim() == 0 else read(slot) for name, slot in self._state(p).items()}
            for p in params
        ]
        rates = group.lr, group.weight_decay
        self._update(Update(self.settings, [*map(read, params)], grads, states, *rates, fused))
        for parameter, state in zip(params, states, strict=True):
            for name, slot in state.items():
                if name not in self.state[parameter]:  # made by the update, as one line
                    kept = slot.as_strided(parameter.shape, parameter.stride()) if fused else slot
                    self.state[parameter][name] = kept

    def _state(self, parameter: nn.Parameter) -> State:
        """The parameter's slots, zeros at first; SGD makes its own at the first update."""
        if parameter not in self.state:
            self.state[parameter] = {
                name: torch.zeros((), device=parameter.device)
                if name == "step"
                else torch.zeros_like(parameter, memory_format=torch.preserve_format).detach()
                for name in self._row.dense_slots
                if name != "momentum_buffer"
            }
        return self.state[parameter]


def update_adam(update: Update) -> None:
    """Adam; `weight_decay` is an L2 penalty."""
    _adam(update, decoupled=False)


def update_adamw(update: Update) -> None:
    """Adam with decoupled weight decay."""
    _adam(update, decoupled=True)


def _adam(update: Update, *, decoupled: bool) -> None:
    settings, steps = update.settings, update.slots("step")
    means, squares = update.slots("exp_avg"), update.slots("exp_avg_sq")
    usable = update.fused and all(fits(parameter) for parameter in update.params)
    kernel = adam_kernel() if usable else None
    if kernel is not None:
        torch._foreach_add_(steps, 1.0)
        counts = [float(step) for step in steps]
        parts = zip(update.params, update.grads, means, squares, counts, strict=True)
        kernel.update(
            [AdamState(*part) for part in parts],
            lr=update.lr,
            betas=settings.betas,
            eps=settings.eps,
            weight_decay=update.weight_decay,
            decoupled=decoupled,
        )
        return
    adam(
        update.params,
        update.grads,
        means,
        squares,
        [],
        steps,
        fused=_fusible(update, "cpu", "cuda"),
        decoupled_weight_decay=decoupled,
        amsgrad=False,
        beta1=settings.betas[0],
        beta2=settings.betas[1],
        lr=update.lr,
        weight_decay=update.weight_decay,
        eps=settings.eps,
        maximize=False,
    )


def update_adagrad(update: Update) -> None:
    """Adagrad."""
    adagrad(
        update.params,
        update.grads,
        update.slots("sum"),
        update.slots("step"),
        fused=_fusible(update, "cpu"),  # torch has no other
        lr=update.lr,
        weight_decay=update.weight_decay,
        lr_decay=0.0,
        eps=update.settings.eps,
        maximize=False,
    )


def update_sgd(update: Update) -> None:
    """Gradient descent, perhaps with momentum."""
    buffers = [state.get("momentum_buffer") for state in update.states]
    sgd(
        update.params,
        update.grads,
        buffers,
        fused=_fusible(update, "cpu", "cuda") and not _is_narrow_on_cpu(update),
        lr=update.lr,
        weight_decay=update.weight_decay,
        momentum=update.settings.momentum,
        dampening=0.0,
        nesterov=False,
        maximize=False,
    )
    for state, buffer in zip(update.states, buffers, strict=True):
        if buffer is not None:
            state["momentum_buffer"] = buffer


# ---- layouts ------------------------------------------------------------------------------------


def _is_one_line(tensor: Tensor) -> bool:
    """Whether the elements fill one piece of memory, each place once, in whatever order."""
    if tensor.is_contiguous():
        return True
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return tensor.numel() > 0


def _line(tensor: Tensor) -> Tensor:
    """The elements in the order of memory, [N] where that is not the order of the rows."""
    return tensor if tensor.is_contiguous() else tensor.as_strided((tensor.numel(),), (1,))


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _like(parameter: Tensor, grad: Tensor) -> Tensor:
    """The gradient, laid out as its parameter."""
    if grad.layout != torch.strided:
        grad = grad.to_dense()
    if grad.stride() == parameter.stride():
        return grad
    return torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(grad)


def _fusible(update: Update, *devices: str) -> bool:
    return update.fused and all(parameter.device.type in devices for parameter in update.params)


def _is_narrow_on_cpu(update: Update) -> bool:
    """Where torch 2.13's fused SGD leaves whole vectors of 16-bit weights as they are."""
    return any(p.device.type == "cpu" and p.element_size() < 4 for p in update.params)
