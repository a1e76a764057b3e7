"""`graphrec::mix_experts`: what each gate makes of the experts, out_g = sum_k softmax(l_g)_k e_k.

A gate below `tasks` sees `private` experts of its own and those after all private ones; the others
see all experts. So `tasks` = 0 is MMoE, and a level of PLE has one gate for each task and, but for
the last level, one of the shared slot. Name and schema are written into exported programs: keep
them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphrec.kernels.ops.operator import differentiable, operator
from graphrec.kernels.route import triton_twin

__all__ = ["mix_experts", "mix_experts_backward", "seats"]


def seats(gates: int, experts: int, tasks: int, private: int) -> list[list[int]]:
    """The experts that each gate sees, in the order of its logits."""
    shared = [*range(tasks * private, experts)]
    own = [[*range(task * private, (task + 1) * private), *shared] for task in range(tasks)]
    return own + [[*range(experts)]] * (gates - tasks)


def _check(logits: Tensor, experts: Tensor, tasks: int, private: int) -> None:
    if logits.dim() != 3 or experts.dim() != 3 or logits.shape[0] != experts.shape[0]:
        raise ValueError(
            f"mix_experts: logits {tuple(logits.shape)}, experts {tuple(experts.shape)}"
        )
    gates, total = logits.shape[1], experts.shape[1]
    if not 0 <= tasks <= gates or private < 0 or tasks * private > total:
        raise ValueError(f"mix_experts: {tasks} x {private} private ones of {total} experts")
    most = max(map(len, seats(gates, total, tasks, private)), default=0)
    if not 0 < most <= logits.shape[2]:
        raise ValueError(f"mix_experts: a gate sees {most} experts by {logits.shape[2]} logits")
    if logits.dtype != experts.dtype:
        raise ValueError(f"mix_experts: logits are {logits.dtype}, experts {experts.dtype}")


@operator(
    "mix_experts",
    check=_check,
    like=lambda logits, experts: experts.new_empty(
        logits.shape[1], experts.shape[0], experts.shape[2]
    ),
)
def mix_experts(logits: Tensor, experts: Tensor, tasks: int, private: int) -> Tensor:
    """[G, M, D] from logits [M, G, C] and experts [M, E, D], all of one dtype.

    Of a gate's C logits it reads as many as it sees experts, its own first; the rest is padding.
    """
    twin = triton_twin("mix", experts)
    if twin is not None:
        mixed: Tensor = twin.forward(logits, experts, tasks, private)
        return mixed
    return torch.stack(
        [
            torch.bmm(_weights(logits, gate, seen)[:, None], experts[:, seen])[:, 0]
            for gate, seen in enumerate(seats(logits.shape[1], experts.shape[1], tasks, private))
        ]
    )


@operator(
    "mix_experts_backward",
    like=lambda logits, experts: (
        logits.new_empty(logits.shape),
        experts.new_empty(experts.shape),
    ),
)
def mix_experts_backward(
    grad: Tensor, logits: Tensor, experts: Tensor, tasks: int, private: int
) -> tuple[Tensor, Tensor]:
    """Gradients of the logits [M, G, C] (zero where they are padding) and the experts [M, E, D]."""
    twin = triton_twin("mix", experts)
    if twin is not None:
        grads: tuple[Tensor, Tensor] = twin.backward(grad, logits, experts, tasks, private)
        return grads
    to_logits, to_experts = torch.zeros_like(logits), torch.zeros_like(experts)
    for gate, seen in enumerate(seats(logits.shape[1], experts.shape[1], tasks, private)):
        weights = _weights(logits, gate, seen)
        to_weights = torch.bmm(experts[:, seen], grad[gate][:, :, None])[:, :, 0]
        to_logits[:, gate, : len(seen)] = torch.ops.aten._softmax_backward_data(
            to_weights, weights, 1, weights.dtype
        )
        to_experts[:, seen] += weights[:, :, None] * grad[gate][:, None]
    return to_logits, to_experts


differentiable(mix_experts, mix_experts_backward, of=("logits", "experts"))


def _weights(logits: Tensor, gate: int, seen: list[int]) -> Tensor:
    return torch.softmax(logits[:, gate, : len(seen)], dim=1)
