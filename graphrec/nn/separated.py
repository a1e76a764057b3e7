"""Packed tensors whose pieces are parameters of their own: views, as long as nobody moves them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graphrec.nn.parameter_slice import ParameterSlice

__all__ = ["Separated"]


class Separated:
    """The packed tensors of a module, and the parameters of its children that are views of them."""

    def __init__(self, owner: nn.Module, pieces: Sequence[ParameterSlice]) -> None:
        names = dict.fromkeys(piece.parameter for piece in pieces)
        packed = {name: owner.get_parameter(name) for name in names}
        self.wholes = {name: whole.detach() for name, whole in packed.items()}
        for piece in pieces:
            child, _, own = piece.key.rpartition(".")
            # Into the map: a table may have the name of one of the module's methods.
            holder = owner._modules.setdefault(child, nn.Module())
            assert holder is not None
            part = nn.Parameter(self._slice(piece), packed[piece.parameter].requires_grad)
            holder.register_parameter(own, part)
        for name in names:
            delattr(owner, name)

    def undo(self, owner: nn.Module, pieces: Sequence[ParameterSlice]) -> None:
        """Give the owner its packed parameters back."""
        self.gather(owner, pieces)
        trainable = {p.parameter: _part(owner, p).requires_grad for p in pieces}
        for child in {piece.key.rpartition(".")[0] for piece in pieces}:
            del owner._modules[child]
        for name, whole in self.wholes.items():
            owner.register_parameter(name, nn.Parameter(whole, requires_grad=trainable[name]))

    def joined(self, owner: nn.Module, pieces: Sequence[ParameterSlice], name: str) -> Tensor:
        """The packed tensor `name`; its gradient goes to the parameters that it is made of."""
        mine = [piece for piece in pieces if piece.parameter == name]
        parts = [_part(owner, piece) for piece in mine]
        whole = self.wholes[name]
        if torch.compiler.is_compiling() or not _are_views(whole, mine, parts):
            # Somebody put other tensors in their place, as `functional_call` does.
            return torch.cat([part.view(-1, *whole.shape[1:]) for part in parts])
        if torch.is_grad_enabled() and any(part.requires_grad for part in parts):
            joined: Tensor = _Join.apply(whole, mine, *parts)  # type: ignore[no-untyped-call]
            return joined
        return whole

    @torch.no_grad()
    def gather(self, owner: nn.Module, pieces: Sequence[ParameterSlice]) -> None:
        """Lay parameters that were moved, cast or copied side by side again."""
        for name, whole in self.wholes.items():
            mine = [piece for piece in pieces if piece.parameter == name]
            parts = [_part(owner, piece) for piece in mine]
            if not _are_views(whole, mine, parts):
                joined = torch.cat([part.view(-1, *whole.shape[1:]) for part in parts])
                self.wholes[name] = joined
                for piece, part in zip(mine, parts, strict=True):
                    part.data = self._slice(piece)

    def _slice(self, piece: ParameterSlice) -> Tensor:
        return self.wholes[piece.parameter][piece.start : piece.stop].view(piece.shape)


def _part(owner: nn.Module, piece: ParameterSlice) -> Tensor:
    """The parameter that a piece is, or what stands in its place."""
    child, _, own = piece.key.rpartition(".")
    value: Tensor = getattr(owner._modules[child], own)
    return value


def _are_views(whole: Tensor, pieces: Sequence[ParameterSlice], parts: Sequence[Tensor]) -> bool:
    """Whether all parts lie where they belong; on the meta device nothing lies anywhere."""
    if whole.is_meta or any(type(part) is not nn.Parameter or part.is_meta for part in parts):
        return False
    row = whole.element_size() * (whole.numel() // max(whole.shape[0], 1))
    return all(
        part.data_ptr() == whole.data_ptr() + piece.start * row and part.dtype == whole.dtype
        for piece, part in zip(pieces, parts, strict=True)
    )


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, whole: Tensor, pieces: Sequence[ParameterSlice], *parts: Tensor
    ) -> Tensor:
        ctx.pieces = pieces
        return whole.view_as(whole)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        dense = grad.to_dense() if grad.is_sparse else grad
        return None, None, *(dense[p.start : p.stop].view(p.shape) for p in ctx.pieces)
