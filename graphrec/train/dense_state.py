"""The state of a dense optimizer in checkpoints: flat, by pieces of parameters."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import torch
from torch import Tensor, nn

from graphrec.nn.parameter_slice import ParameterSlice
from graphrec.recipe.optimizer_table import OPTIMIZERS
from graphrec.train.dense_optimizers import DenseOptimizer

__all__ = ["load_optimizer_state", "optimizer_state"]


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
        slots = sorted(OPTIMIZERS[optimizer.settings.name].dense_slots)
        keys = {slot: [f"dense/{piece.key}/{slot}" for piece in parts] for slot in slots}
        wanted = [key for names in keys.values() for key in names]
        if any(key in given for key in wanted):
            for key in wanted:
                if key not in given:
                    raise ValueError(f"optimizer state `{key}` is missing")
            optimizer.state[parameter] = {
                slot: _join(parameter, slot, parts, [given.pop(key) for key in names])
                for slot, names in keys.items()
            }
        else:
            optimizer.state.pop(parameter, None)


def _join(
    parameter: nn.Parameter, slot: str, parts: tuple[ParameterSlice, ...], values: list[Tensor]
) -> Tensor:
    """One state tensor of a parameter from those of its pieces, laid out as the parameter."""
    if slot == "step":
        return values[0].to(parameter.device, torch.float32, copy=True)
    whole = torch.empty_like(parameter, memory_format=torch.preserve_format).detach()
    for piece, part in zip(parts, values, strict=True):
        if part.shape != piece.shape:
            raise ValueError(
                f"optimizer state `dense/{piece.key}/{slot}` has shape {[*part.shape]}, "
                f"needs {[*piece.shape]}"
            )
        target = whole if len(parts) == 1 else whole[piece.start : piece.stop].view(piece.shape)
        target.copy_(part.view(target.shape))
    return whole
