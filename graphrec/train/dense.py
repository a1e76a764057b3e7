"""Optimizers of dense parameters: torch's own, fused where they can be, with state by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

from graphrec.nn.pieces import Piece
from graphrec.recipe.training import Optimizer

__all__ = ["load_optimizer_state", "make_dense", "optimizer_state"]

SLOTS: Mapping[str, frozenset[str]] = {
    "Adam": frozenset({"step", "exp_avg", "exp_avg_sq"}),
    "AdamW": frozenset({"step", "exp_avg", "exp_avg_sq"}),
    "Adagrad": frozenset({"step", "sum"}),
    "SGD": frozenset({"momentum_buffer"}),
}


def make_dense(settings: Optimizer, groups: Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimizer over `groups` (params, lr, weight_decay)."""
    groups = list(groups)
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    # Adagrad is fused on the CPU only; one kernel instead of several for every parameter.
    fused = devices <= ({"cpu"} if settings.name == "adagrad" else {"cpu", "cuda"})
    if settings.name == "adam":
        return torch.optim.Adam(groups, betas=settings.betas, eps=settings.eps, fused=fused)
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, betas=settings.betas, eps=settings.eps, fused=fused)
    if settings.name == "adagrad":
        return torch.optim.Adagrad(groups, eps=settings.eps, fused=fused)
    if settings.name == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum, fused=fused)
    raise ValueError(f"optimizer `{settings.name}` is for tables, not for dense parameters")


def optimizer_state(
    optimizer: torch.optim.Optimizer, pieces: Mapping[nn.Parameter, tuple[Piece, ...]]
) -> dict[str, Tensor]:
    """The optimizer's state, flat, by piece of parameter: `dense/<key>/<slot>`."""
    flat: dict[str, Tensor] = {}
    for parameter, parts in pieces.items():
        for slot, values in sorted(optimizer.state.get(parameter, {}).items()):
            if isinstance(values, Tensor):  # SGD without momentum keeps a None
                for piece in parts:
                    part = values
                    if slot == "step":
                        part = values.clone()  # files refuse tensors that share memory
                    elif len(parts) > 1:
                        part = values[piece.start : piece.stop].view(piece.shape)
                    flat[f"dense/{piece.key}/{slot}"] = part
    return flat


def load_optimizer_state(
    optimizer: torch.optim.Optimizer,
    pieces: Mapping[nn.Parameter, tuple[Piece, ...]],
    given: MutableMapping[str, Tensor],
) -> None:
    """Take the `dense/` entries out of `given` and put them into the optimizer.

    A parameter without entries is as new. ValueError for entries that do not fit.
    """
    known = SLOTS[type(optimizer).__name__]
    for parameter, parts in pieces.items():
        keys = {slot: [f"dense/{piece.key}/{slot}" for piece in parts] for slot in sorted(known)}
        wanted = [key for found in keys.values() for key in found]
        if any(key in given for key in wanted):
            for key in wanted:
                if key not in given:
                    raise ValueError(f"optimizer state `{key}` is missing")
            optimizer.state[parameter] = {
                slot: _join(parameter, slot, parts, [given.pop(key) for key in found])
                for slot, found in keys.items()
            }
        elif isinstance(optimizer, torch.optim.Adagrad):
            raise ValueError(f"optimizer state `{wanted[0]}` is missing")
        else:
            optimizer.state.pop(parameter, None)


def _join(
    parameter: nn.Parameter, slot: str, parts: tuple[Piece, ...], values: list[Tensor]
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
