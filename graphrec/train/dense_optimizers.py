"""Optimizers of dense parameters: torch's own updates, fused where they can be, state by name.

The updates are torch.optim's functions, but for Adam on a CPU, which has a kernel of its own.
torch's classes would do, but making one imports its compiler, which takes longer than everything
else between the command and the first step.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adagrad import adagrad
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from graphrec.nn.native.adam import AdamState, adam_kernel, fits
from graphrec.nn.parameter_slice import ParameterSlice
from graphrec.recipe.training import Optimizer

__all__ = ["DenseOptimizer", "Group", "load_optimizer_state", "optimizer_state"]

SLOTS: Mapping[str, tuple[str, ...]] = {
    "adam": ("step", "exp_avg", "exp_avg_sq"),
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "adagrad": ("step", "sum"),
    "sgd": ("momentum_buffer",),
}
"""What is kept of every parameter."""

State = dict[str, Tensor]


@dataclass
class Group:
    """Parameters with one learning rate and weight decay."""

    params: Sequence[nn.Parameter]
    lr: float
    weight_decay: float = 0.0


class DenseOptimizer:
    """Adam, AdamW, Adagrad or SGD over `groups`; `state` has the slots of the parameters seen."""

    def __init__(self, settings: Optimizer, groups: Sequence[Group]) -> None:
        if settings.name not in SLOTS:
            raise ValueError(f"optimizer `{settings.name}` is for tables, not dense parameters")
        self.settings, self.groups = settings, list(groups)
        self.state: dict[nn.Parameter, State] = {}
        devices = {parameter.device.type for group in self.groups for parameter in group.params}
        # Adagrad is fused on the CPU only; one kernel instead of several for every parameter.
        self._fused = devices <= ({"cpu"} if settings.name == "adagrad" else {"cpu", "cuda"})

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.groups:
            seen = [parameter for parameter in group.params if parameter.grad is not None]
            if seen:
                grads = [p.grad for p in seen if p.grad is not None]
                self._update(group, seen, grads, [self._state(p) for p in seen])

    def _update(
        self,
        group: Group,
        params: Sequence[nn.Parameter],
        grads: list[Tensor],
        states: Sequence[State],
    ) -> None:
        settings, given = self.settings, list[Tensor](params)
        steps = [state["step"] for state in states if "step" in state]
        if settings.name == "adagrad":
            adagrad(
                given,
                grads,
                [state["sum"] for state in states],
                steps,
                fused=self._fused,
                lr=group.lr,
                weight_decay=group.weight_decay,
                lr_decay=0.0,
                eps=settings.eps,
                maximize=False,
            )
        elif settings.name == "sgd":
            buffers = [state.get("momentum_buffer") for state in states]
            sgd(
                given,
                grads,
                buffers,
                fused=self._fused,
                lr=group.lr,
                weight_decay=group.weight_decay,
                momentum=settings.momentum,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            for state, buffer in zip(states, buffers, strict=True):
                if buffer is not None:
                    state["momentum_buffer"] = buffer
        else:
            self._adam(group, given, grads, states)

    def _adam(
        self, group: Group, params: list[Tensor], grads: list[Tensor], states: Sequence[State]
    ) -> None:
        settings = self.settings
        steps = [state["step"] for state in states]
        grads = [grad.contiguous() for grad in grads]  # torch's fused kernel reads them so, too
        kernel = adam_kernel() if all(fits(parameter) for parameter in params) else None
        if kernel is not None:
            torch._foreach_add_(steps, 1.0)
            kernel.update(
                [
                    AdamState(p, g, s["exp_avg"], s["exp_avg_sq"], float(s["step"]))
                    for p, g, s in zip(params, grads, states, strict=True)
                ],
                lr=group.lr,
                betas=settings.betas,
                eps=settings.eps,
                weight_decay=group.weight_decay,
                decoupled=settings.name == "adamw",
            )
            return
        adam(
            params,
            grads,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            fused=self._fused,
            decoupled_weight_decay=settings.name == "adamw",
            amsgrad=False,
            beta1=settings.betas[0],
            beta2=settings.betas[1],
            lr=group.lr,
            weight_decay=group.weight_decay,
            eps=settings.eps,
            maximize=False,
        )

    def _state(self, parameter: nn.Parameter) -> State:
        """The parameter's slots, zeros at first; SGD makes its own at the first update."""
        if parameter not in self.state:
            names = () if self.settings.name == "sgd" else SLOTS[self.settings.name]
            self.state[parameter] = {
                name: torch.zeros((), device=parameter.device)
                if name == "step"
                else torch.zeros_like(parameter, memory_format=torch.preserve_format).detach()
                for name in names
            }
        return self.state[parameter]


def optimizer_state(
    optimizer: DenseOptimizer, pieces: Mapping[nn.Parameter, tuple[ParameterSlice, ...]]
) -> dict[str, Tensor]:
    """The optimizer's state, flat, by piece of parameter: `dense/<key>/<slot>`."""
    flat: dict[str, Tensor] = {}
    for parameter, parts in pieces.items():
        for slot, values in sorted(optimizer.state.get(parameter, {}).items()):
            for piece in parts:
                part = values
                if slot == "step":
                    part = values.clone()  # files refuse tensors that share memory
                elif len(parts) > 1:
                    part = values[piece.start : piece.stop].view(piece.shape)
                flat[f"dense/{piece.key}/{slot}"] = part
    return flat


def load_optimizer_state(
    optimizer: DenseOptimizer,
    pieces: Mapping[nn.Parameter, tuple[ParameterSlice, ...]],
    given: MutableMapping[str, Tensor],
) -> None:
    """Take the `dense/` entries out of `given` and put them into the optimizer.

    A parameter without entries is as new. ValueError for entries that do not fit.
    """
    for parameter, parts in pieces.items():
        slots = sorted(SLOTS[optimizer.settings.name])
        keys = {slot: [f"dense/{piece.key}/{slot}" for piece in parts] for slot in slots}
        wanted = [key for found in keys.values() for key in found]
        if any(key in given for key in wanted):
            for key in wanted:
                if key not in given:
                    raise ValueError(f"optimizer state `{key}` is missing")
            optimizer.state[parameter] = {
                slot: _join(parameter, slot, parts, [given.pop(key) for key in found])
                for slot, found in keys.items()
            }
        else:
            optimizer.state.pop(parameter, None)


def _join(
    parameter: nn.Parameter, slot: str, parts: tuple[ParameterSlice, ...], values: list[Tensor]
) -> Tensor:
    """One state tensor of a parameter from those of its pieces."""
    if slot == "step":
        return values[0].to(parameter.device, torch.float32, copy=True)
    whole = torch.empty_like(parameter, memory_format=torch.contiguous_format).detach()
    for piece, part in zip(parts, values, strict=True):
        if part.shape != piece.shape:
            raise ValueError(
                f"optimizer state `dense/{piece.key}/{slot}` has shape {[*part.shape]}, "
                f"needs {[*piece.shape]}"
            )
        target = whole if len(parts) == 1 else whole[piece.start : piece.stop].view(piece.shape)
        target.copy_(part.view(target.shape))
    return whole
