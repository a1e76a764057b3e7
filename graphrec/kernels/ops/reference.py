"""What the linear operators share in plain torch: checks, activations, slopes, the two products."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from graphrec.ground.activation_table import ACTIVATIONS, FUSED

__all__ = [
    "FROM_INPUT",
    "FROM_OUTPUT",
    "FUSED",
    "activate",
    "activate_in_place",
    "check_layer",
    "kept_of_layer",
    "layer_gradients",
    "layer_gradients_like",
    "layer_like",
    "plain",
    "scaled",
    "slope",
]

FROM_OUTPUT = tuple(name for name, row in ACTIVATIONS.items() if row.slope == "output")
"""Activations whose slope follows from their output."""
FROM_INPUT = tuple(name for name, row in ACTIVATIONS.items() if row.slope == "input")
"""Activations whose slope needs their input: the forward pass then stores it, too."""


def check_layer(op: str, x: Tensor, weight: Tensor, bias: Tensor | None, act: str) -> None:
    """A ValueError unless x [M, K], weight [N, K] and bias [N] make a layer of one dtype."""
    if act not in FUSED:
        raise ValueError(f"{op} has no activation `{act}`; it has {', '.join(FUSED)}")
    if x.dim() != 2 or weight.dim() != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"{op}: x {tuple(x.shape)} and weight {tuple(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"{op}: bias {tuple(bias.shape)}, weight {tuple(weight.shape)}")
    if x.dtype != weight.dtype or (bias is not None and bias.dtype != x.dtype):
        raise ValueError(f"{op}: x is {x.dtype}, weight {weight.dtype}")


def layer_like(x: Tensor, shape: tuple[int, ...], act: str, save: bool) -> tuple[Tensor, Tensor]:
    """Empty tensors like (act(z), z), z of that shape only where a gradient reads it."""
    return x.new_empty(shape), x.new_empty(shape if save and act in FROM_INPUT else (0,))


def kept_of_layer(y: Tensor, z: Tensor, act: str, save: bool) -> Tensor:
    """What the slope follows from: the output, or the input of the activation."""
    if act in FROM_INPUT and not save:
        raise RuntimeError(f"a gradient through `{act}` needs save=True")
    return y if act in FROM_OUTPUT else z


def layer_gradients_like(
    x: Tensor, weight: Tensor, need_x: bool, need_weight: bool, need_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Empty tensors like the gradients of x, weight and bias, of no size where not needed."""
    return (
        x.new_empty(x.shape if need_x else (0,)),
        weight.new_empty(weight.shape if need_weight else (0,)),
        x.new_empty(weight.shape[:-1] if need_bias else (0,)),
    )


def activate(z: Tensor, act: str) -> Tensor:
    """act(z); z stays as it is, and is the result itself for `none`."""
    if act == "gelu":
        return F.gelu(z)
    if act == "silu":
        return F.silu(z)
    return z if act == "none" else activate_in_place(z.clone(), act)


def activate_in_place(z: Tensor, act: str) -> Tensor:
    """act(z), which may overwrite z."""
    match act:
        case "relu":
            return z.relu_()
        case "leaky_relu":
            return F.leaky_relu_(z, 0.01)
        case "sigmoid":
            return z.sigmoid_()
        case "tanh":
            return z.tanh_()
        case "silu":
            return F.silu(z, inplace=True)
        case "gelu":
            return F.gelu(z)
        case _:
            return z


def plain(z: Tensor, act: str, keep: bool) -> tuple[Tensor, Tensor]:
    """(act(z), z) if z is kept; else z is overwritten, and the second result is the first."""
    y = activate(z, act) if keep else activate_in_place(z, act)
    return y, z if keep else y


def scaled(
    z: Tensor, factor: Tensor, skip: Tensor | None, act: str, scale: float
) -> tuple[Tensor, Tensor]:
    """(scale * factor * act(z) + skip, what its gradient needs: z for FROM_INPUT, else act(z))."""
    a = activate(z, act)
    y = factor * a if scale == 1 else factor * (scale * a)
    return y if skip is None else y + skip, z if act in FROM_INPUT else a


def slope(grad: Tensor, kept: Tensor, act: str) -> Tensor:
    """grad * act'; `kept` is the output for FROM_OUTPUT, the input for FROM_INPUT.

    Below the dispatcher there is no autograd: the gradients are called by their names.
    """
    aten = torch.ops.aten
    match act:
        case "relu":
            result = aten.threshold_backward(grad, kept, 0)
        case "leaky_relu":
            result = aten.leaky_relu_backward(grad, kept, 0.01, True)
        case "sigmoid":
            result = aten.sigmoid_backward(grad, kept)
        case "tanh":
            result = aten.tanh_backward(grad, kept)
        case "silu":
            result = aten.silu_backward(grad, kept)
        case "gelu":
            result = aten.gelu_backward(grad, kept)
        case _:
            return grad
    dz: Tensor = result
    return dz


def layer_gradients(
    dz: Tensor,
    x: Tensor,
    weight: Tensor,
    need_x: bool,
    need_weight: bool,
    added: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """dz W (+ `added`) and dz^T x; one that is not needed is empty.

    The two products have no epilogue but a sum: the vendor's GEMM (which also splits the long sum
    over the rows) is the one to beat, and serves Triton and the reference.
    """
    if not need_x:
        x_grad = x.new_empty(0)
    else:
        x_grad = dz @ weight if added is None else torch.addmm(added, dz, weight)
    return x_grad, dz.t() @ x if need_weight else weight.new_empty(0)
