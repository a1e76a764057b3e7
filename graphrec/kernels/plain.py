"""What kernels of blocks of perceptrons ask of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import nn

from graphrec.kernels.ops.reference import FUSED
from graphrec.nn.dense import MLP, Dense

__all__ = ["expect_plain", "layers_of", "widths"]


def expect_plain(module: nn.Module) -> None:
    """Raise ValueError unless its MLPs are Linears and FUSED activations, and no gate drops."""
    if any(getattr(part, "expert_dropout", 0.0) for part in module.modules()):
        raise ValueError(f"{type(module).__name__} has no expert_dropout")
    for mlp in module.modules():
        for layer in mlp.layers if isinstance(mlp, MLP) else ():
            dense = cast(Dense, layer)
            if dense.norm is not None or dense.dropout is not None:
                raise ValueError(f"{type(module).__name__} has no norm and no dropout")
            if dense.activation not in FUSED:
                raise ValueError(
                    f"{type(module).__name__} has no activation `{dense.activation}`; it has"
                    f" {', '.join(FUSED)}"
                )


def layers_of(mlps: Sequence[nn.Module]) -> list[list[Dense]]:
    """For each depth the layers of all MLPs, which have equally many."""
    stacks = [cast(list[Dense], [*cast(MLP, mlp).layers]) for mlp in mlps]
    return [list(layers) for layers in zip(*stacks, strict=True)]


def widths(mlps: Sequence[nn.Module]) -> list[int]:
    """The widths of the layers of MLPs that are all alike."""
    return [layer.out_features for (layer,) in layers_of(mlps[:1])]
