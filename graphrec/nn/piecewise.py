"""A module whose parameters hold many named pieces: checkpoints show pieces only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from graphrec.nn.parameter_slice import ParameterSlice
from graphrec.nn.separated import Separated
from graphrec.nn.tables import fill, named_generator

__all__ = ["PiecewiseModule", "pack", "separate"]

Module = TypeVar("Module", bound=nn.Module)


class PiecewiseModule(nn.Module):
    """Saves, loads and initialises its parameters piece by piece.

    After `separate` every piece is a parameter, too; `get_parameter` still gives the packed tensor.
    """

    pieces: tuple[ParameterSlice, ...] = ()
    separated: Separated | None = None

    def separate(self) -> None:
        """Show every piece as a parameter of its own, with a dense gradient."""
        if self.separated is None:
            self.separated = Separated(self, self.pieces)

    def pack(self) -> None:
        """Undo `separate`."""
        if self.separated is not None:
            self.separated.undo(self, self.pieces)
            self.separated = None

    def get_parameter(self, target: str) -> Any:
        """The parameter of that name, or the packed tensor."""
        if self.separated is not None and target in self.separated.wholes:
            return self.separated.joined(self, self.pieces, target)
        return super().get_parameter(target)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.separated is not None:
            self.separated.gather(self, self.pieces)
        return self

    def __setstate__(self, state: Any) -> None:
        # Of a copy, or of a module out of a file.
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if self.separated is not None:
            self.separated.gather(self, self.pieces)

    def reset_parameters(self) -> None:
        """Draw new weights from the default generator's seed (see `reset`)."""
        self.reset(torch.initial_seed())

    def reset(self, seed: int) -> None:
        """Draw new weights, each piece from `seed` and its own key, whatever else is declared."""
        if self.separated is not None:
            self.separated.gather(self, self.pieces)
        for piece in self.pieces:
            values = self.get_parameter(piece.parameter).detach()[piece.start : piece.stop]
            if not values.is_meta:
                fill(values, piece.init, named_generator(seed, piece.key, values.device))

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for piece in self.pieces if self.separated is None else ():
            whole = self.get_parameter(piece.parameter)
            values = (whole if keep_vars else whole.detach())[piece.start : piece.stop]
            destination[prefix + piece.key] = values.view(piece.shape)

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        assign = bool(local_metadata.get("assign_to_params_buffers"))
        for piece in self.pieces if self.separated is None else ():
            key = prefix + piece.key
            given = state_dict.get(key)
            if given is None:
                missing_keys.append(key)
            elif tuple(given.shape) != piece.shape:
                error_msgs.append(f"{key}: has shape {[*given.shape]}, needs {[*piece.shape]}")
            else:
                self._load_piece(piece, given, assign)
        if strict:
            known = {prefix + piece.key for piece in self.pieces}
            unexpected_keys.extend(k for k in state_dict if k.startswith(prefix) and k not in known)

    @torch.no_grad()
    def _load_piece(self, piece: ParameterSlice, given: torch.Tensor, assign: bool) -> None:
        whole = self.get_parameter(piece.parameter)
        if whole.is_meta and assign:
            # Pieces share a tensor, so `assign` makes the shared one and copies into it.
            storage = torch.empty_like(whole, device=given.device)
            whole = nn.Parameter(storage, requires_grad=whole.requires_grad)
            setattr(self, piece.parameter, whole)
        whole[piece.start : piece.stop].view(piece.shape).copy_(given)


def separate(module: Module) -> Module:
    """An ordinary module, in place: parameters named as in `state_dict`, dense gradients.

    For loops of one's own: any torch optimizer, `clip_grad_norm_`, `functional_call`. A step then
    costs as much as the tables have rows; `pack` undoes it. Make the optimizer afterwards.
    """
    for part in list(module.modules()):
        if isinstance(part, PiecewiseModule):
            part.separate()
    return module


def pack(module: Module) -> Module:
    """One parameter for all tables of a width, with sparse gradients, in place: undo `separate`."""
    for part in list(module.modules()):
        if isinstance(part, PiecewiseModule):
            part.pack()
    return module
