"""DBMTL by hand: a shared bottom, two towers, and a relation from click to purchase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.models.pieces import Tables, perceptron
from bench.models.taobao import WIDTH, MultiTask

__all__ = ["DBMTL"]


class DBMTL(MultiTask):
    """Bottom [1024, 512, 256], towers [256, 128, 64], relation [64]."""

    def __init__(self, rows: Mapping[str, int], numbers: Sequence[str], tables: type[Tables]):
        super().__init__(rows, numbers, tables)
        self.bottom = perceptron(len(rows) * WIDTH, [1024, 512, 256])
        self.tower_ctr = perceptron(256, [256, 128, 64])
        self.tower_cvr = perceptron(256, [256, 128, 64])
        self.rel_cvr = perceptron(128, [64])
        self.head_ctr, self.head_cvr = nn.Linear(64, 1), nn.Linear(64, 1)

    def dense(self, x: Tensor) -> tuple[Tensor, ...]:
        bottom = self.bottom(x)
        ctr, cvr = self.tower_ctr(bottom), self.tower_cvr(bottom)
        related = self.rel_cvr(torch.cat([cvr, ctr], dim=1))
        return self.head_ctr(ctr), self.head_cvr(related)
