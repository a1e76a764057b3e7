"""PLE by hand: two levels of three experts for each of two tasks and three shared ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.models.pieces import Tables, perceptron
from bench.models.taobao import WIDTH, MultiTask

__all__ = ["PLE"]

TASKS, EXPERTS = ("ctr", "cvr"), 3


class Level(nn.Module):
    """Experts [512, 256, 128] and gates; the last level has no shared output."""

    def __init__(self, width: int, last: bool) -> None:
        super().__init__()

        def experts() -> nn.ModuleList:
            return nn.ModuleList(perceptron(width, [512, 256, 128]) for _ in range(EXPERTS))

        self.experts = nn.ModuleDict({task: experts() for task in TASKS})
        self.shared = experts()
        self.gates = nn.ModuleDict({task: nn.Linear(width, 2 * EXPERTS) for task in TASKS})
        if not last:
            self.shared_gate = nn.Linear(width, (len(TASKS) + 1) * EXPERTS)
        self.last = last

    def forward(self, ctr: Tensor, cvr: Tensor, shared: Tensor) -> tuple[Tensor, ...]:
        common = [expert(shared) for expert in self.shared]
        inputs = {"ctr": ctr, "cvr": cvr}
        own = {t: [expert(x) for expert in self.experts[t]] for t, x in inputs.items()}
        outputs = [mix(self.gates[t](x), [*own[t], *common]) for t, x in inputs.items()]
        if self.last:
            return *outputs, shared
        return *outputs, mix(self.shared_gate(shared), [*own["ctr"], *own["cvr"], *common])


def mix(logits: Tensor, experts: Sequence[Tensor]) -> Tensor:
    """Experts [B, D] weighted by the softmax of logits [B, K]."""
    weights = logits.softmax(dim=1).unsqueeze(-1)
    return (torch.stack(list(experts), dim=1) * weights).sum(1)


class PLE(MultiTask):
    """Two levels, then towers [256, 128, 64]."""

    def __init__(self, rows: Mapping[str, int], numbers: Sequence[str], tables: type[Tables]):
        super().__init__(rows, numbers, tables)
        levels = [Level(len(rows) * WIDTH, last=False), Level(128, last=True)]
        self.experts = nn.ModuleDict({"levels": nn.ModuleList(levels)})
        self.tower_ctr = perceptron(128, [256, 128, 64])
        self.tower_cvr = perceptron(128, [256, 128, 64])
        self.head_ctr, self.head_cvr = nn.Linear(64, 1), nn.Linear(64, 1)

    def dense(self, x: Tensor) -> tuple[Tensor, ...]:
        ctr, cvr, shared = x, x, x
        for level in self.experts["levels"]:
            ctr, cvr, shared = level(ctr, cvr, shared)
        return self.head_ctr(self.tower_ctr(ctr)), self.head_cvr(self.tower_cvr(cvr))
