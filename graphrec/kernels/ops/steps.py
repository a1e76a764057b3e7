"""What the operators over histories share in plain torch.

Rows are given by `offsets` [B + 1]: row b has the steps offsets[b] to offsets[b + 1] - 1, and the
last offset is the number of steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphrec.kernels.ops.reference import FUSED
from graphrec.nn.segments import segment_sum

__all__ = [
    "check_steps",
    "of_steps",
    "softmax_sum",
    "softmax_sum_gradients",
    "step_gradients",
    "step_layer",
    "wide",
]


def wide(x: Tensor) -> torch.dtype:
    """The type that sums over steps are kept in."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def of_steps(offsets: Tensor, values: Tensor) -> Tensor:
    """The row of every step, [T]."""
    steps = torch.arange(values.shape[0], device=values.device)
    return torch.searchsorted(offsets[1:].contiguous(), steps, right=True)


def softmax_sum(scores: Tensor, values: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """The operator in plain torch."""
    rows, count = of_steps(offsets, values), offsets.shape[0] - 1
    scores, values = scores.to(wide(values)), values.to(wide(values))
    tops = scores.new_full((count,), -torch.inf).scatter_reduce_(0, rows, scores, "amax")
    powers = torch.exp(scores - tops.index_select(0, rows))
    whole = segment_sum(powers, rows, count)
    some = offsets[1:] > offsets[:-1]
    whole = torch.where(some, whole, 1.0)
    out = segment_sum(powers.unsqueeze(-1) * values, rows, count) / whole.unsqueeze(-1)
    return out, torch.where(some, tops + whole.log(), 0.0)


def softmax_sum_gradients(
    grad: Tensor, scores: Tensor, values: Tensor, rows: Tensor, out: Tensor, norm: Tensor
) -> tuple[Tensor, Tensor]:
    """Its gradients of scores [T] and values [T, D], both wide."""
    values, delta = values.to(out.dtype), (grad * out).sum(1)
    p = torch.exp(scores.to(out.dtype) - norm.index_select(0, rows))
    of_row = grad.index_select(0, rows)
    scores_grad = p * ((values * of_row).sum(1) - delta.index_select(0, rows))
    return scores_grad, p.unsqueeze(-1) * of_row


def step_layer(
    query: Tensor, part: Tensor, keys: Tensor, rows: Tensor, of_keys: Tensor, of_product: Tensor
) -> Tensor:
    """part of the row + s A^T + (q * s) P^T, [T, H]."""
    z = part.index_select(0, rows)
    z.addmm_(keys, of_keys.t())
    return z.addmm_(query.index_select(0, rows) * keys, of_product.t())


def step_gradients(
    dz: Tensor, query: Tensor, keys: Tensor, rows: Tensor, of_keys: Tensor, of_product: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, part, keys, of_keys and of_product for dz [T, H]."""
    of_row, through = query.index_select(0, rows), dz @ of_product
    dq = segment_sum(keys * through, rows, query.shape[0])
    dpart = segment_sum(dz, rows, query.shape[0])
    dk = torch.addmm(of_row * through, dz, of_keys)
    return dq, dpart, dk, dz.t() @ keys, dz.t() @ (of_row * keys)


def check_steps(
    op: str,
    query: Tensor,
    part: Tensor,
    keys: Tensor,
    offsets: Tensor,
    of_keys: Tensor,
    of_product: Tensor,
    act: str,
) -> None:
    """A ValueError unless the tensors fit: [B, D], [B, H], [T, D], [B + 1], [H, D] and [H, D]."""
    if act not in FUSED:
        raise ValueError(f"{op} has no activation `{act}`; it has {', '.join(FUSED)}")
    rows, depth, hidden = query.shape[0], keys.shape[-1], part.shape[-1]
    wanted = {
        "query": (query, (rows, depth)),
        "part": (part, (rows, hidden)),
        "keys": (keys, (keys.shape[0], depth)),
        "offsets": (offsets, (rows + 1,)),
        "of_keys": (of_keys, (hidden, depth)),
        "of_product": (of_product, (hidden, depth)),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor.shape != shape:
            raise ValueError(f"{op}: {name} {tuple(tensor.shape)}, needs {tuple(shape)}")
        dtype = torch.int64 if name == "offsets" else keys.dtype
        if tensor.dtype != dtype:
            raise ValueError(f"{op}: {name} is {tensor.dtype}, needs {dtype}")
