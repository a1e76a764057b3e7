"""`graphrec::experts_act`: activation(x_e W_e^T + b_e) of E perceptrons as one operator.

Inputs are slots [M, S, K]. Expert e reads slot min(e // per, S - 1), so one operator serves a layer
that all experts read (S = 1), one where each reads its own (S = E, per = 1), and a level of PLE:
`per` private experts for each task's slot, and the shared ones, which read the last slot. The
experts' outputs lie side by side in a row, so that the gradient of a slot is one product over all
its readers. Name and schema are written into exported programs: keep them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from graphrec.kernels.ops.operator import differentiable, operator
from graphrec.kernels.ops.reference import (
    FROM_INPUT,
    FUSED,
    kept_of_layer,
    layer_gradients_like,
    layer_like,
    plain,
    slope,
)
from graphrec.kernels.route import triton_twin

__all__ = ["experts_act", "experts_act_backward", "linear", "slots_read"]


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, per: int, act: str) -> None:
    if act not in FUSED:
        raise ValueError(f"experts_act has no activation `{act}`; it has {', '.join(FUSED)}")
    if x.dim() != 3 or weight.dim() != 3 or x.shape[2] != weight.shape[2]:
        raise ValueError(f"experts_act: x {tuple(x.shape)} and weight {tuple(weight.shape)}")
    if per < 1 or weight.shape[0] <= (x.shape[1] - 1) * per:
        raise ValueError(
            f"experts_act: {weight.shape[0]} experts, {per} for a slot, {x.shape[1]} slots"
        )
    if bias is not None and bias.shape != weight.shape[:2]:
        raise ValueError(f"experts_act: bias {tuple(bias.shape)}, weight {tuple(weight.shape)}")
    if x.dtype != weight.dtype or (bias is not None and bias.dtype != x.dtype):
        raise ValueError(f"experts_act: x is {x.dtype}, weight {weight.dtype}")


@operator(
    "experts_act",
    check=_check,
    like=lambda x, weight, act, save: layer_like(x, (x.shape[0], *weight.shape[:2]), act, save),
)
def experts_act(
    x: Tensor, weight: Tensor, bias: Tensor | None, per: int, act: str, save: bool
) -> tuple[Tensor, Tensor]:
    """(act(z), z) for z = x_e W_e^T + b_e, [M, E, N]; z is empty unless a gradient needs it.

    x [M, S, K] in any layout, weight [E, N, K], bias [E, N]; all of one dtype. z is kept for `gelu`
    and `silu` if `save`: their gradient needs it. Every slot must have a reader.
    """
    keep = save and act in FROM_INPUT
    twin = triton_twin("experts", x)
    if twin is not None:
        y, z = twin.forward(x, weight, bias, per, act, keep)
    else:
        y, z = plain(linear(x, weight, bias, per), act, keep)
    return y, z if keep else y.new_empty(0)


@operator("experts_act_backward", like=layer_gradients_like)
def experts_act_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    kept: Tensor,
    per: int,
    act: str,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x [M, S, K], weight [E, N, K], bias [E, N]; one that is not needed is empty.

    `kept` [M, E, N] is the output for activations whose slope follows from it, their input for
    `gelu` and `silu`, and not read for `none`.
    """
    width = weight.shape[1]
    twin = triton_twin("experts", x)
    if twin is not None:
        # Its dz has aligned columns, zero behind the real ones; the products then are aligned, too.
        dz, bias_grad = twin.backward(grad, kept, act, need_bias)
        weight = F.pad(weight, (0, 0, 0, dz.shape[2] - width)) if dz.shape[2] > width else weight
    else:
        dz = slope(grad, kept, act).contiguous()
        bias_grad = dz.sum(0) if need_bias else dz.new_empty(0)
    x_grad = _x_grad(dz, weight, x.shape[1], per) if need_x else x.new_empty(0)
    weight_grad = x.new_empty(0)
    if need_weight:
        weight_grad = _weight_grad(dz, x, per)[:, :width].contiguous()
    return x_grad, weight_grad, bias_grad


differentiable(
    experts_act,
    experts_act_backward,
    results=("y", "z"),
    of=("x", "weight", "bias"),
    keeps={"kept": kept_of_layer},
)


def slots_read(experts: int, slots: int, per: int) -> list[tuple[slice, slice, int]]:
    """(slots, their experts, experts for each slot), for slots with equally many readers."""
    before = (slots - 1) * per
    if experts - before == per:
        return [(slice(0, slots), slice(0, experts), per)]
    last = slice(slots - 1, slots), slice(before, experts), experts - before
    return [(slice(0, slots - 1), slice(0, before), per), last] if before else [last]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, per: int) -> Tensor:
    """The plain product [M, E, N], one batch of matrices for slots with equally many readers."""
    rows, (experts, width, depth) = x.shape[0], weight.shape
    z = x.new_empty(rows, experts, width)
    for slots, readers, each in slots_read(experts, x.shape[1], per):
        matrices = weight[readers].reshape(-1, each * width, depth).transpose(1, 2)
        out = z[:, readers].view(rows, slots.stop - slots.start, each * width).transpose(0, 1)
        _multiply(x[:, slots].transpose(0, 1), matrices, out)
    return z if bias is None else z.add_(bias)


# The products of the gradient have no epilogue: the vendor's GEMM (which also splits the long sum
# over the rows) is the one to beat, and serves both routes.


def _x_grad(dz: Tensor, weight: Tensor, slots: int, per: int) -> Tensor:
    """[M, S, K]: one product over all columns of a slot's readers, so none is added up later."""
    rows, (experts, width, depth) = dz.shape[0], weight.shape
    result = dz.new_empty(rows, slots, depth)
    for read, readers, each in slots_read(experts, slots, per):
        columns = dz[:, readers].reshape(rows, read.stop - read.start, each * width).transpose(0, 1)
        matrices = weight[readers].reshape(-1, each * width, depth)
        _multiply(columns, matrices, result[:, read].transpose(0, 1))
    return result


def _weight_grad(dz: Tensor, x: Tensor, per: int) -> Tensor:
    """[E, N, K], a product for each slot: of few outputs and a sum over all rows."""
    rows, experts, width = dz.shape
    result = dz.new_empty(experts, width, x.shape[2])
    for read, readers, each in slots_read(experts, x.shape[1], per):
        columns = dz[:, readers].view(rows, read.stop - read.start, each * width)
        out = result[readers].view(-1, each * width, x.shape[2])
        # Not batched: only the plain product splits the sum, and a few tiles fill no GPU.
        for slot, product in enumerate(out):
            torch.mm(columns[:, slot].t(), x[:, read.start + slot], out=product)
    return result


def _multiply(left: Tensor, right: Tensor, out: Tensor) -> None:
    if left.shape[0] == 1:
        torch.mm(left[0], right[0], out=out[0])
    else:
        torch.bmm(left, right, out=out)
