"""DeepFM by hand: 26 ids, 13 numbers, first order, crosses and a perceptron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.models.pieces import Tables, copy_dense, perceptron

__all__ = ["DeepFM"]

WIDTH = 16


class DeepFM(nn.Module):
    """Logits [B] from ids [F, B] and numbers [B, N]; names are in the order of the columns."""

    outputs = ("logits",)

    def __init__(self, rows: Mapping[str, int], numbers: Sequence[str], tables: type[Tables]):
        super().__init__()
        self.ids, self.numbers, count = list(rows), list(numbers), len(rows)
        widths = [WIDTH] * count + [tables.first_order] * count
        self.tables = tables([*rows.values()] * 2, widths)
        self.vectors = nn.Parameter(torch.empty(len(numbers), WIDTH))
        self.slopes = nn.Parameter(torch.empty(len(numbers)))
        self.deep = perceptron((count + len(numbers)) * WIDTH, [512, 256, 128])
        self.final = perceptron(1 + WIDTH + 128, [64])
        self.head_ctr = nn.Linear(64, 1)

    def forward(self, ids: Tensor, numbers: Tensor) -> tuple[Tensor, ...]:
        count = len(self.ids)
        embedded = self.tables(torch.cat([ids, ids]))
        crossed, first = embedded.split([count * WIDTH, embedded.shape[1] - count * WIDTH], dim=1)
        flat = torch.cat([crossed, (numbers.unsqueeze(-1) * self.vectors).flatten(1)], dim=1)
        fields = flat.unflatten(1, (-1, WIDTH))
        linear = first[:, :: self.tables.first_order].sum(1) + numbers @ self.slopes
        fm = 0.5 * (fields.sum(1).square() - fields.square().sum(1))
        final = self.final(torch.cat([linear.unsqueeze(1), fm, self.deep(flat)], dim=1))
        return (self.head_ctr(final).squeeze(-1),)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of the generated module."""
        dense = dict(state)
        names = [f"embeddings.{n}.weight" for n in self.ids]
        names += [f"first_order.{n}.weight" for n in self.ids]
        for mine, name in zip(self.tables.weights(), names, strict=True):
            given = dense.pop(name)
            mine.zero_()[:, : given.shape[1]] = given
        kinds = {"vectors": "embeddings", "slopes": "first_order"}
        for mine, kind in kinds.items():
            rows = [dense.pop(f"{kind}.{name}.weight") for name in self.numbers]
            dense[mine] = torch.cat(rows).view_as(self.get_parameter(mine))
        copy_dense(self, dense)
