"""References of the models with several tasks, classes or towers, by the name of the recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from reference_parts import (
    CONTEXT,
    DIM,
    ITEM,
    SHOP,
    USER,
    Features,
    Gate,
    MaskBlock,
    Perceptron,
    Rows,
)  # fmt: skip
from torch import Tensor, nn

__all__ = ["MULTI_TASK"]

WIDTH = len(SHOP) * DIM
Outputs = dict[str, Tensor]


class Tasks(Features):
    """Towers `tower_<task>` and heads `head_<task>`."""

    def __init__(self, tasks: tuple[str, ...], width: int, hidden: list[int]) -> None:
        super().__init__()
        for task in tasks:
            self.add_module(f"tower_{task}", Perceptron(width, hidden))
            self.add_module(f"head_{task}", nn.Linear(hidden[-1], 1))
        self.tasks = tasks

    def tower(self, task: str, x: Tensor) -> Tensor:
        made: Tensor = self.get_submodule(f"tower_{task}")(x)
        return made

    def head(self, task: str, x: Tensor) -> Outputs:
        return {f"logits_{task}": self.get_submodule(f"head_{task}")(x)[:, 0]}

    def outputs(self, xs: Mapping[str, Tensor]) -> Outputs:
        found: Outputs = {}
        for task, x in xs.items():
            found |= self.head(task, self.tower(task, x))
        return found


class SharedBottom(Tasks):
    """Caruana, 1997."""

    def __init__(self) -> None:
        super().__init__(("buy", "click"), 128, [64])
        self.bottom = Perceptron(WIDTH, [256, 128])

    def forward(self, rows: Rows) -> Outputs:
        x = self.bottom(self.concat(rows))
        return self.outputs(dict.fromkeys(self.tasks, x))


def mixed(gate: nn.Module, x: Tensor, experts: list[Tensor]) -> Tensor:
    """Sum over k of softmax(gate(x))_k E_k."""
    return torch.einsum("bk,kbd->bd", torch.softmax(gate(x), 1), torch.stack(experts))


class MMoE(Tasks):
    """Ma et al., 2018."""

    def __init__(self) -> None:
        super().__init__(("buy", "click"), 64, [64])
        self.experts = nn.Module()
        self.experts.experts = nn.ModuleList(Perceptron(WIDTH, [128, 64]) for _ in range(4))
        self.experts.gates = nn.ModuleDict({task: nn.Linear(WIDTH, 4) for task in self.tasks})

    def forward(self, rows: Rows) -> Outputs:
        x = self.concat(rows)
        experts = [expert(x) for expert in self.experts.experts]
        return self.outputs(
            {task: mixed(self.experts.gates[task], x, experts) for task in self.tasks}
        )


class PLE(Tasks):
    """Tang et al., 2020: a task's gate sees its experts and the shared ones, the shared gate all."""

    def __init__(self) -> None:
        super().__init__(("buy", "click"), 64, [64])
        self.experts = nn.Module()
        self.experts.levels = nn.ModuleList(self.level(WIDTH, True) + self.level(64, False))

    def level(self, width: int, shared_gate: bool) -> list[nn.Module]:
        def two() -> nn.ModuleList:
            return nn.ModuleList(Perceptron(width, [128, 64]) for _ in range(2))

        made = nn.Module()
        made.experts = nn.ModuleDict({task: two() for task in self.tasks})
        made.shared = two()
        made.gates = nn.ModuleDict({task: nn.Linear(width, 4) for task in self.tasks})
        if shared_gate:
            made.shared_gate = nn.Linear(width, 6)
        return [made]

    def forward(self, rows: Rows) -> Outputs:
        shared = self.concat(rows)
        xs = dict.fromkeys(self.tasks, shared)
        for level in self.experts.levels:
            common = [expert(shared) for expert in level.shared]
            own = {
                task: [expert(xs[task]) for expert in level.experts[task]] for task in self.tasks
            }
            xs = {
                task: mixed(level.gates[task], xs[task], own[task] + common) for task in self.tasks
            }
            if level is self.experts.levels[0]:
                shared = mixed(level.shared_gate, shared, own["buy"] + own["click"] + common)
        return self.outputs(xs)


class DBMTL(Tasks):
    """Wang et al., 2019: the head of `buy` reads MLP([own tower, tower of click])."""

    def __init__(self) -> None:
        super().__init__(("buy", "click"), 128, [64])
        self.bottom = Perceptron(WIDTH, [256, 128])
        self.rel_buy, self.head_buy = Perceptron(64 + 64, [32]), nn.Linear(32, 1)

    def forward(self, rows: Rows) -> Outputs:
        x = self.bottom(self.concat(rows))
        buy, click = self.tower("buy", x), self.tower("click", x)
        return self.head("click", click) | self.head(
            "buy", self.rel_buy(torch.cat([buy, click], 1))
        )


class MaskedDBMTL(Tasks):
    """DBMTL over parallel mask blocks; what `buy` takes from `cart` and `click` has no gradient."""

    def __init__(self) -> None:
        super().__init__(("buy", "cart", "click"), 128, [64])
        self.mask = nn.Module()
        self.mask.norm, self.mask.top = nn.LayerNorm(WIDTH), Perceptron(128, [128])
        self.mask.blocks = nn.ModuleList(MaskBlock(WIDTH, WIDTH, 64, 128) for _ in range(2))
        self.rel_buy, self.head_buy = Perceptron(3 * 64, [32]), nn.Linear(32, 1)

    def forward(self, rows: Rows) -> Outputs:
        e = self.concat(rows)
        normed = self.mask.norm(e)
        x = self.mask.top(torch.cat([block(normed, e) for block in self.mask.blocks], 1))
        buy, cart, click = (self.tower(task, x) for task in ("buy", "cart", "click"))
        related = self.rel_buy(torch.cat([buy, cart.detach(), click.detach()], 1))
        return self.head("click", click) | self.head("cart", cart) | self.head("buy", related)


class _Transfer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.info = nn.ModuleList([nn.Linear(width, width)])
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, own: Tensor, parent: Tensor) -> Tensor:
        us = [own, self.info[0](parent)]
        scores = [(self.key(u) * self.query(u)).sum(1) / math.sqrt(own.shape[1]) for u in us]
        weights = torch.softmax(torch.stack(scores), 0)
        total: Tensor = sum(w[:, None] * self.value(u) for w, u in zip(weights, us, strict=True))  # type: ignore[assignment]
        return total


class AITM(Tasks):
    """Xi et al., 2021: sum over u in {own, info} of softmax(<k(u), q(u)> / sqrt D) v(u), along the chain."""

    def __init__(self) -> None:
        super().__init__(("buy", "cart", "click"), WIDTH, [128, 64])
        self.rel_cart, self.rel_buy = _Transfer(64), _Transfer(64)

    def forward(self, rows: Rows) -> Outputs:
        x = self.concat(rows)
        click = self.tower("click", x)
        cart = self.rel_cart(self.tower("cart", x), click)
        buy = self.rel_buy(self.tower("buy", x), cart)
        return self.head("click", click) | self.head("cart", cart) | self.head("buy", buy)


class ESMM(Tasks):
    """Ma et al., 2018: p(click and buy) = p(click) p(buy | click)."""

    def __init__(self) -> None:
        super().__init__(("ctr", "cvr"), WIDTH, [256, 128])

    def forward(self, rows: Rows) -> Outputs:
        found = self.outputs(dict.fromkeys(self.tasks, self.concat(rows)))
        both = torch.sigmoid(found["logits_ctr"]) * torch.sigmoid(found["logits_cvr"])
        return {**found, "probs_ctcvr": both}


class PEPNet(Features):
    """Chang et al., 2023: gates over [domain, x without gradient] scale x, and every layer of the towers."""

    def __init__(self) -> None:
        super().__init__()
        self.scaled = nn.Module()
        self.scaled.gate = Gate(2 * DIM + WIDTH, 64, WIDTH)
        for task in ("buy", "click"):
            tower = Perceptron(WIDTH, [128, 64])
            tower.gates = nn.ModuleList(Gate(4 * DIM + WIDTH, 64, width) for width in (128, 64))
            self.add_module(f"tower_{task}", tower)
            self.add_module(f"head_{task}", nn.Linear(64, 1))

    def forward(self, rows: Rows) -> Outputs:
        x, found = self.concat(rows), {}
        x = self.scaled.gate(torch.cat([self.concat(rows, CONTEXT), x.detach()], 1)) * x
        person = self.concat(rows, ("user_id", "age_level", "item_id", "brand"))
        for task in ("buy", "click"):
            tower, y = self.get_submodule(f"tower_{task}"), x
            for layer, gate in zip(tower.layers, tower.gates, strict=True):
                y = F.relu(layer(y)) * gate(torch.cat([person, x.detach()], 1))
            found[f"logits_{task}"] = self.get_submodule(f"head_{task}")(y)[:, 0]
        return found


class TwoTower(Features):
    """<user side, item side>; fused: an MLP over their product, one Linear for both tasks."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        names = ("who", "what") if fused else ("match_user_side", "match_item_side")
        for name, features in zip(names, (6, 5), strict=True):
            hidden, out = ([128, 64], 0) if fused else ([128, 64], 32)
            self.add_module(name, Perceptron(features * DIM, hidden, out))
        if fused:
            self.fused = nn.Module()
            self.fused.mlp, self.fused.head = Perceptron(64, [64]), nn.Linear(64, 2)
        self.names, self.is_fused = names, fused

    def forward(self, rows: Rows) -> Outputs:
        user = self.get_submodule(self.names[0])(self.concat(rows, (*USER, *CONTEXT)))
        item = self.get_submodule(self.names[1])(self.concat(rows, ITEM))
        if not self.is_fused:
            return {"logits": (user * item).sum(1)}
        both = self.fused.head(self.fused.mlp(user * item))
        return {"logits_buy": both[:, 0], "logits_click": both[:, 1]}


class NextAction(Features):
    """A first-order term and a perceptron's output for each of four classes."""

    def __init__(self) -> None:
        super().__init__(linear=4)
        self.deep = Perceptron(WIDTH, [256, 128], 4)

    def forward(self, rows: Rows) -> Outputs:
        return {"logits": self.linear(rows) + self.deep(self.concat(rows))}


MULTI_TASK: Mapping[str, type[Features] | partial[Features]] = {
    "aitm": AITM,
    "dbmtl": DBMTL,
    "dbmtl_masknet": MaskedDBMTL,
    "esmm": ESMM,
    "fusion_tower": partial(TwoTower, True),
    "mmoe": MMoE,
    "next_action": NextAction,
    "pepnet": PEPNet,
    "ple": PLE,
    "shared_bottom": SharedBottom,
    "two_tower": partial(TwoTower, False),
}
