"""MMoE by hand: three experts, a gate and a tower for each of two tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.models.pieces import Tables, perceptron
from bench.models.taobao import WIDTH, MultiTask

__all__ = ["MMoE"]

EXPERTS = 3


class Experts(nn.Module):
    """Experts [512, 256, 128], mixed for every task by a softmax of a Linear over the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(perceptron(width, [512, 256, 128]) for _ in range(EXPERTS))
        self.gates = nn.ModuleDict({task: nn.Linear(width, EXPERTS) for task in ("ctr", "cvr")})

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        experts = torch.stack([expert(x) for expert in self.experts], dim=1)
        gates = torch.stack([gate(x) for gate in self.gates.values()], dim=1)
        return torch.bmm(gates.softmax(dim=2), experts).unbind(1)


class MMoE(MultiTask):
    """Experts, then towers [256, 128, 64]."""

    def __init__(self, rows: Mapping[str, int], numbers: Sequence[str], tables: type[Tables]):
        super().__init__(rows, numbers, tables)
        self.experts = Experts(len(rows) * WIDTH)
        self.tower_ctr = perceptron(128, [256, 128, 64])
        self.tower_cvr = perceptron(128, [256, 128, 64])
        self.head_ctr, self.head_cvr = nn.Linear(64, 1), nn.Linear(64, 1)

    def dense(self, x: Tensor) -> tuple[Tensor, ...]:
        ctr, cvr = self.experts(x)
        return self.head_ctr(self.tower_ctr(ctr)), self.head_cvr(self.tower_cvr(cvr))
