"""`graphrec::step_linear_act`: the first layer of target attention over all steps.

act(part of the row + s A^T + (q * s) P^T): what the query alone gives comes in computed, once per
row; no concatenation [q, s, q - s, q * s] is made.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.library import custom_op

from graphrec.kernels.ops.reference import FROM_INPUT, FROM_OUTPUT, activate, slope
from graphrec.kernels.ops.steps import check_steps, of_steps, step_gradients, step_layer
from graphrec.kernels.route import triton_twin

__all__ = ["step_linear_act", "step_linear_act_backward"]

_NAME = "step_linear_act"


@custom_op("graphrec::step_linear_act", mutates_args=())
def step_linear_act(
    query: Tensor,
    part: Tensor,
    keys: Tensor,
    offsets: Tensor,
    of_keys: Tensor,
    of_product: Tensor,
    act: str,
    save: bool,
) -> tuple[Tensor, Tensor]:
    """(act(z), z) with z = part of the row + s A^T + (q * s) P^T, both [T, H].

    query [B, D], part [B, H], keys [T, D], offsets [B + 1] int64, of_keys (A) and of_product (P)
    [H, D]; all of one type but offsets. The second is empty unless `save` and a gradient would
    need it; a gradient through `gelu` or `silu` needs `save=True`.
    """
    check_steps(_NAME, query, part, keys, offsets, of_keys, of_product, act)
    keep, rows = save and act in FROM_INPUT, of_steps(offsets, keys)
    twin = triton_twin("step_linear", keys)
    if twin is not None:
        y, z = twin.forward(query, part, keys, rows, of_keys, of_product, act, keep)
    else:
        z = step_layer(query, part, keys, rows, of_keys, of_product)
        y = activate(z, act)
    return y, z if keep else y.new_empty(0)


@step_linear_act.register_fake
def _(
    query: Tensor,
    part: Tensor,
    keys: Tensor,
    offsets: Tensor,
    of_keys: Tensor,
    of_product: Tensor,
    act: str,
    save: bool,
) -> tuple[Tensor, Tensor]:
    check_steps(_NAME, query, part, keys, offsets, of_keys, of_product, act)
    shape = (keys.shape[0], part.shape[1])
    return keys.new_empty(shape), keys.new_empty(shape if save and act in FROM_INPUT else (0,))


@custom_op("graphrec::step_linear_act_backward", mutates_args=())
def step_linear_act_backward(
    grad: Tensor,
    query: Tensor,
    part: Tensor,
    keys: Tensor,
    offsets: Tensor,
    of_keys: Tensor,
    of_product: Tensor,
    kept: Tensor,
    act: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, part, keys, of_keys and of_product.

    `kept` [T, H] is the output for FROM_OUTPUT, the input of the activation for FROM_INPUT, and not
    read for `none`.
    """
    rows = of_steps(offsets, keys)
    linear, twin = triton_twin("linear_act", keys), triton_twin("step_linear_backward", keys)
    if linear is None or twin is None:
        dz = slope(grad, kept, act)
        return step_gradients(dz, query, keys, rows, of_keys, of_product)
    segments = triton_twin("segments", keys)
    assert segments is not None
    dz, _ = linear.backward(grad, kept, act, False)
    dq, dk = twin.inputs(dz, query, keys, offsets, of_keys, of_product)
    return dq, segments.sum_of_rows(dz, offsets), dk, *twin.weights(dz, query, keys, rows)


@step_linear_act_backward.register_fake
def _(
    grad: Tensor,
    query: Tensor,
    part: Tensor,
    keys: Tensor,
    offsets: Tensor,
    of_keys: Tensor,
    of_product: Tensor,
    kept: Tensor,
    act: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return (
        query.new_empty(query.shape),
        part.new_empty(part.shape),
        keys.new_empty(keys.shape),
        of_keys.new_empty(of_keys.shape),
        of_product.new_empty(of_product.shape),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.act, save = inputs
    if ctx.act in FROM_INPUT and not save and any(ctx.needs_input_grad):
        raise RuntimeError(f"a gradient through `{ctx.act}` needs save=True")
    y, z = output
    ctx.save_for_backward(*tensors, y if ctx.act in FROM_OUTPUT else z)
    ctx.mark_non_differentiable(z)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 8
    dq, dpart, dk, of_s, of_qs = step_linear_act_backward(grad, *ctx.saved_tensors, ctx.act)
    return dq, dpart, dk, None, of_s, of_qs, None, None


step_linear_act.register_autograd(_backward, setup_context=_setup)
