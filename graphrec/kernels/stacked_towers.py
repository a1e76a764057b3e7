"""Towers of one form computed together: a batched product a layer instead of one a tower.

Each tower keeps its own parameters; they are put side by side at every call, which is why this pays
for many small towers only. Towers that read the same tensor begin with one wide product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.nn.dense import MLP, Dense, Linear
from graphrec.nn.products import product

__all__ = ["stacked"]


def stacked(towers: Sequence[MLP], xs: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Outputs [B, out] of all `towers`, each for its own x [B, in], or all for one x.

    The towers have equal settings: norm none or layer, an activation without parameters. Dropout
    draws for all of them at once: other numbers than one by one, of the same distribution.
    """
    first = towers[0]
    dtype = xs.dtype if isinstance(xs, Tensor) else xs[0].dtype
    y = xs if isinstance(xs, Tensor) else torch.stack(list(xs))
    for parts in zip(*(tower.layers for tower in towers), strict=True):
        layers = [cast(Dense, part) for part in parts]
        y = _finish(layers, _product([layer.affine() for layer in layers], y))
    if first.out is not None:
        y = _product([cast(Linear, tower.out).affine() for tower in towers], y)
    if any(cast(Dense, layer).ready is not None for layer in first.layers):
        y = y.to(dtype)
    return y.unbind(0)


def _product(parts: Sequence[tuple[Tensor, Tensor | None]], x: Tensor) -> Tensor:
    """x_t W_t^T + b_t of every tower t, [towers, B, out]; x [B, in] or [towers, B, in]."""
    count, (out, _) = len(parts), parts[0][0].shape
    biases = [bias for _, bias in parts if bias is not None]
    weights = [weight for weight, _ in parts]
    if weights[0].dtype in (torch.bfloat16, torch.float16):
        x = x.to(weights[0].dtype)
    if x.dim() == 2:
        wide = product(x, torch.cat(weights), torch.cat(biases) if biases else None)
        return wide.view(-1, count, out).transpose(0, 1)
    turned = torch.stack(weights).transpose(1, 2)
    if not biases:
        return torch.bmm(x, turned)
    return torch.baddbmm(torch.stack(biases).unsqueeze(1), x, turned)


def _finish(layers: Sequence[Dense], x: Tensor) -> Tensor:
    """Norm, activation and dropout of every tower, on [towers, B, out]."""
    first = layers[0]
    if first.norm is not None:
        norms = [cast(nn.LayerNorm, layer.norm) for layer in layers]
        scale = torch.stack([norm.weight for norm in norms]).unsqueeze(1)
        shift = torch.stack([norm.bias for norm in norms]).unsqueeze(1)
        normed = F.layer_norm(x.to(scale.dtype), scale.shape[-1:], eps=norms[0].eps)
        x = torch.addcmul(shift, normed, scale)
    if first.act is not None:
        x = first.act(x)
    return x if first.dropout is None else first.dropout(x)
