"""`graphrec::step_linear_act`: the first layer of target attention over all steps.

act(part of the row + s A^T + (q * s) P^T): what the query alone gives comes in computed, once per
row; no concatenation [q, s, q - s, q * s] is made.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from graphrec.kernels.ops.operator import differentiable, operator
from graphrec.kernels.ops.reference import FROM_INPUT, activate, kept_of_layer, layer_like, slope
from graphrec.kernels.ops.steps import check_steps, of_steps, step_gradients, step_layer
from graphrec.kernels.route import triton_twin

__all__ = ["step_linear_act", "step_linear_act_backward"]


@operator(
    "step_linear_act",
    check=partial(check_steps, "step_linear_act"),
    like=lambda part, keys, act, save: layer_like(keys, (keys.shape[0], part.shape[1]), act, save),
)
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
    keep, rows = save and act in FROM_INPUT, of_steps(offsets, keys)
    twin = triton_twin("step_linear", keys)
    if twin is not None:
        y, z = twin.forward(query, part, keys, rows, of_keys, of_product, act, keep)
    else:
        z = step_layer(query, part, keys, rows, of_keys, of_product)
        y = activate(z, act)
    return y, z if keep else y.new_empty(0)


@operator(
    "step_linear_act_backward",
    like=lambda query, part, keys, of_keys, of_product: tuple(
        one.new_empty(one.shape) for one in (query, part, keys, of_keys, of_product)
    ),
)
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


differentiable(
    step_linear_act,
    step_linear_act_backward,
    results=("y", "z"),
    of=("query", "part", "keys", "of_keys", "of_product"),
    keeps={"kept": kept_of_layer},
)
