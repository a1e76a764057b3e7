"""What the reference models are made of: plain torch, written from the papers' formulas.

Parameters have the names of the compiled modules, so weights are copied by `load_state_dict`.
Histories and multi-values are lists with one tensor per row: nothing is padded or packed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "CONTEXT", "CRITEO", "DIM", "ITEM", "NUMBERS", "ROWS", "SHOP", "USER", "Attention", "AutoDis", "DiceLayer",
    "Features", "Gate", "MaskBlock", "Perceptron", "Rows", "Scorer", "pairs",
]  # fmt: skip

ROWS, DIM = 31, 16
USER = ("age_level", "city", "gender", "user_id")
ITEM = ("brand", "category", "item_id", "price", "tags")
CONTEXT = ("device", "hour")
SHOP = tuple(sorted((*USER, *ITEM, *CONTEXT)))
CRITEO = tuple(sorted(f"C{i}" for i in range(1, 27)))
NUMBERS = tuple(sorted(f"I{i}" for i in range(1, 14)))

Rows = dict[str, Tensor | list[Tensor]]
"""Inputs by name: ids [B], numbers [B, 1], or one tensor of ids per row."""


Activate = Callable[[Tensor], Tensor] | None
"""None: Dice, which has weights."""


class AutoDis(nn.Module):
    """softmax((M h + skip h) / temperature) over meta embeddings, h = leaky_relu(w x)."""

    def __init__(self, channels: int, temperature: float, skip: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(channels))
        self.m = nn.Parameter(torch.empty(channels, channels))
        self.meta = nn.Parameter(torch.empty(channels, DIM))
        self.temperature, self.skip = temperature, skip

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(x * self.w)
        return torch.softmax((h @ self.m.T + self.skip * h) / self.temperature, dim=1) @ self.meta


class Features(nn.Module):
    """Tables of the features `names`; `linear` is the width of their first-order terms."""

    def __init__(
        self, names: Sequence[str] = SHOP, linear: int = 0, autodis: Sequence[str] = ()
    ) -> None:
        super().__init__()

        def table(name: str, width: int) -> nn.Module:
            return nn.Embedding(1 if name[0] == "I" or name == "price" else ROWS, width)

        soft = {name: AutoDis(20, 0.5, 0.1) for name in autodis}
        self.embeddings = nn.ModuleDict({name: table(name, DIM) for name in names} | soft)
        if linear:
            self.first_order = nn.ModuleDict({n: table(n, linear) for n in (*names, *autodis)})

    def concat(self, rows: Rows, names: Sequence[str] = SHOP) -> Tensor:
        return torch.cat([_embed(self.embeddings[name], rows[name]) for name in names], dim=1)

    def fields(self, rows: Rows, names: Sequence[str] = SHOP) -> Tensor:
        return torch.stack([_embed(self.embeddings[name], rows[name]) for name in names], dim=1)

    def steps(self, rows: Rows, history: str, names: Sequence[str]) -> list[Tensor]:
        """Per row: the embeddings of every step, [L, width]."""
        columns = [
            [self.embeddings[name](ids) for ids in rows[f"{history}.{name}"]] for name in names
        ]
        return [torch.cat(parts, dim=1) for parts in zip(*columns, strict=True)]

    def linear(self, rows: Rows) -> Tensor:
        """Sum over the features of their weights (times the number; several values: their mean)."""
        terms = [_embed(table, rows[name]) for name, table in self.first_order.items()]
        return torch.stack(terms).sum(0)


def _embed(table: nn.Module, x: Tensor | list[Tensor]) -> Tensor:
    if isinstance(x, list):
        none = torch.zeros_like(table.weight[0])
        return torch.stack([table(ids).mean(0) if len(ids) else none for ids in x])
    if isinstance(table, nn.Embedding) and x.is_floating_point():
        return x * table.weight
    embedded: Tensor = table(x)
    return embedded


class Perceptron(nn.Module):
    """Linears with an activation each; `out`: a last Linear without one."""

    def __init__(
        self, width: int, hidden: Sequence[int], out: int = 0, act: Activate = F.relu
    ) -> None:
        super().__init__()
        widths = [width, *hidden]
        pairs_ = zip(widths, hidden, strict=False)
        self.layers = nn.ModuleList(nn.Linear(a, b) if act else DiceLayer(a, b) for a, b in pairs_)
        if out:
            self.out = nn.Linear(widths[-1], out)
        self.last, self.act = bool(out), act

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.act(layer(x)) if self.act else layer(x)
        return self.out(x) if self.last else x


class _Dice(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(width))
        self.register_buffer("running_mean", torch.empty(width))
        self.register_buffer("running_var", torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        p = torch.sigmoid((x - self.running_mean) / torch.sqrt(self.running_var + 1e-5))
        return p * x + (1 - p) * self.alpha * x


class DiceLayer(nn.Linear):
    """A Linear and Dice: p x + (1 - p) alpha x, p = sigmoid of x standardised; in evaluation."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__(width, out)
        self.act = _Dice(out)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.act(super().forward(x))
        return made


class MaskBlock(nn.Module):
    """ReLU(LN(W x * (W2 ReLU(W1 e))))."""

    def __init__(self, width: int, raw: int, hidden: int, middle: int) -> None:
        super().__init__()
        self.aggregate, self.project = nn.Linear(raw, middle), nn.Linear(middle, width)
        self.hidden, self.norm = nn.Linear(width, hidden), nn.LayerNorm(hidden)

    def forward(self, x: Tensor, raw: Tensor) -> Tensor:
        mask = self.project(F.relu(self.aggregate(raw)))
        return F.relu(self.norm(self.hidden(mask * x)))


class Gate(nn.Module):
    """PEPNet's gate: 2 sigmoid(W2 ReLU(W1 x))."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(width, hidden), nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * torch.sigmoid(self.out(F.relu(self.hidden(x))))


class Attention(nn.Module):
    """Multi-head self attention of the rows of x [L, D], head by head, plus x."""

    def __init__(self, width: int, heads: int, positions: int = 0) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.in_proj, self.out_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        if positions:
            self.positions = nn.Parameter(torch.empty(positions, width))
            self.norm = nn.LayerNorm(width)
        self.heads, self.placed = heads, bool(positions)

    def forward(self, x: Tensor) -> Tensor:
        if self.placed:  # the newest step has position 0
            x = x + self.positions[: len(x)].flip(0)
        weights, biases = self.in_proj.weight.chunk(3), self.in_proj.bias.chunk(3)
        q, k, v = (
            F.linear(p(x), w, b)
            for p, w, b in zip((self.q, self.k, self.v), weights, biases, strict=True)
        )
        size, heads = x.shape[1] // self.heads, []
        for head in range(self.heads):
            part = slice(head * size, (head + 1) * size)
            scores = q[:, part] @ k[:, part].T / math.sqrt(size)
            heads.append(torch.softmax(scores, dim=1) @ v[:, part])
        y: Tensor = self.out_proj(torch.cat(heads, dim=1)) + x
        return self.norm(y) if self.placed else y


class Scorer(nn.Module):
    """DIN over one row: sum of softmax(MLP([q, s, q - s, q * s])) s; no steps: zeros."""

    def __init__(self, width: int, hidden: Sequence[int], act: Activate = F.relu) -> None:
        super().__init__()
        self.mlp = Perceptron(4 * width, hidden, 1, act)

    def forward(self, queries: Tensor, histories: list[Tensor]) -> Tensor:
        return torch.stack([self.row(q, s) for q, s in zip(queries, histories, strict=True)])

    def row(self, query: Tensor, steps: Tensor) -> Tensor:
        q = query.expand_as(steps)
        scores = self.mlp(torch.cat([q, steps, q - steps, q * steps], dim=1))
        return (torch.softmax(scores, dim=0) * steps).sum(0)


def pairs(fields: Tensor) -> list[tuple[Tensor, Tensor]]:
    """All pairs of fields i < j, each [B, D]."""
    return list(combinations(fields.unbind(1), 2))
