"""References of the models with histories, by the name of the recipe."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from reference_parts import (
    CONTEXT,
    DIM,
    ITEM,
    SHOP,
    USER,
    Attention,
    Features,
    Perceptron,
    Rows,
    Scorer,
)  # fmt: skip
from torch import Tensor, nn

__all__ = ["HISTORIES"]

WIDTH = len(SHOP) * DIM
PAIRED = ("category", "item_id")
Outputs = dict[str, Tensor]


class DIN(Features):
    """Zhou et al., 2018, with Dice."""

    def __init__(self) -> None:
        super().__init__()
        self.interest = Scorer(2 * DIM, [64, 32], act=None)
        self.deep, self.head_click = (
            Perceptron(WIDTH + 2 * DIM, [200, 80], act=None),
            nn.Linear(80, 1),
        )

    def forward(self, rows: Rows) -> Outputs:
        seen = self.interest(self.concat(rows, PAIRED), self.steps(rows, "clicked", PAIRED))
        return {"logits": self.head_click(self.deep(torch.cat([self.concat(rows), seen], 1)))[:, 0]}


class MultiTowerDIN(Features):
    """A tower for user and context, one for the item, and attention to the history."""

    def __init__(self) -> None:
        super().__init__()
        self.user_tower, self.item_tower = (
            Perceptron(6 * DIM, [128, 64]),
            Perceptron(5 * DIM, [128, 64]),
        )
        self.interest = Scorer(2 * DIM, [64, 32])
        self.final, self.head_click = Perceptron(64 + 64 + 32, [64]), nn.Linear(64, 1)

    def forward(self, rows: Rows) -> Outputs:
        user = self.user_tower(self.concat(rows, (*USER, *CONTEXT)))
        item = self.item_tower(self.concat(rows, ITEM))
        seen = self.interest(self.concat(rows, PAIRED), self.steps(rows, "clicked", PAIRED))
        return {"logits": self.head_click(self.final(torch.cat([user, item, seen], 1)))[:, 0]}


class MultiWindowDIN(Features):
    """a_t = PReLU(MLP([s, q * s, q])); per window sum a_t s_t / its steps; then q."""

    def __init__(self) -> None:
        super().__init__()
        self.interest = nn.Module()
        self.interest.mlp, self.interest.act = Perceptron(6 * DIM, [64, 32], 1), nn.PReLU()
        self.deep, self.head_click = Perceptron(WIDTH + 4 * 2 * DIM, [256, 128]), nn.Linear(128, 1)

    def row(self, q: Tensor, s: Tensor) -> Tensor:
        wide = q.expand_as(s)
        weighed = self.interest.act(self.interest.mlp(torch.cat([s, wide * s, wide], 1))) * s
        windows = [weighed[:5], weighed[5:15], weighed[15:30]]
        return torch.cat([*(w.sum(0) / max(len(w), 1) for w in windows), q])

    def forward(self, rows: Rows) -> Outputs:
        both = zip(self.concat(rows, PAIRED), self.steps(rows, "clicked", PAIRED), strict=True)
        seen = torch.stack([self.row(q, s) for q, s in both])
        return {"logits": self.head_click(self.deep(torch.cat([self.concat(rows), seen], 1)))[:, 0]}


class BST(Features):
    """Chen et al., 2019: z = y + FFN(y), y = LN(x + attention(x)), x with positions; then the target reads z."""

    def __init__(self) -> None:
        super().__init__()
        self.attended = Attention(2 * DIM, 4, positions=30)
        self.encoded = Perceptron(2 * DIM, [128], 2 * DIM, F.leaky_relu)
        self.deep = Perceptron(WIDTH + 2 * DIM, [256, 128], act=F.leaky_relu)
        self.head_click = nn.Linear(128, 1)

    def row(self, q: Tensor, s: Tensor) -> Tensor:
        if not len(s):
            return torch.zeros_like(q)
        y = self.attended(s)
        z = y + self.encoded(y)
        return torch.softmax(z @ q, 0) @ z

    def forward(self, rows: Rows) -> Outputs:
        both = zip(self.concat(rows, PAIRED), self.steps(rows, "clicked", PAIRED), strict=True)
        seen = torch.stack([self.row(q, s) for q, s in both])
        return {"logits": self.head_click(self.deep(torch.cat([self.concat(rows), seen], 1)))[:, 0]}


class SIM(Features):
    """Pi et al., 2020: of the history only steps of the candidate's category, weighed by it."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Module()
        self.scores.mlp = Perceptron(8 * DIM, [64, 32], 1)
        self.deep, self.head_click = Perceptron(WIDTH + 2 * DIM, [128, 64]), nn.Linear(64, 1)

    def row(self, q: Tensor, s: Tensor) -> Tensor:
        s = s[(s[:, :DIM] == q[:DIM]).all(1)]  # the category comes first
        wide = q.expand_as(s)
        weight = torch.sigmoid(self.scores.mlp(torch.cat([wide, s, wide - s, wide * s], 1)))
        return (weight * s).sum(0) / (weight.sum() + 1e-6)

    def forward(self, rows: Rows) -> Outputs:
        both = zip(self.concat(rows, PAIRED), self.steps(rows, "clicked", PAIRED), strict=True)
        seen = torch.stack([self.row(q, s) for q, s in both])
        return {"logits": self.head_click(self.deep(torch.cat([self.concat(rows), seen], 1)))[:, 0]}


HISTORIES: Mapping[str, type[Features]] = {
    "bst": BST,
    "sim": SIM,
    "din": DIN,
    "multi_tower_din": MultiTowerDIN,
    "multi_window_din": MultiWindowDIN,
}
