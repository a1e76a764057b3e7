"""How several losses become one: Pareto-efficient weights of each step, or learned uncertainties.

Regularisation terms stay outside, with weight 1. The balanced total is what is differentiated and
what training lines show; an evaluation shows the plain sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from graphrec.nn.embedding import Embeddings
from graphrec.recipe.model import Recipe
from graphrec.train.losses import Losses, TaskLosses

__all__ = ["Balance", "Pareto", "Uncertainty", "make_balance", "pareto_weights"]


class Balance(nn.Module):
    """Gives losses another total; `weights` are those of the last call, by loss."""

    def __init__(self, tasks: Mapping[str, str]) -> None:
        """`tasks`: key of a loss -> its task."""
        super().__init__()
        self.tasks = dict(sorted(tasks.items()))
        self.weights: dict[str, Tensor] = {}

    def forward(self, losses: Losses) -> Losses:
        """The same losses with the balanced total."""
        parts = [losses.parts[key] for key in self.tasks]
        terms = torch.stack(parts)
        weights = self.weigh(parts).to(terms.dtype)
        self.weights = dict(zip(self.tasks, weights.detach(), strict=True))
        penalties = [value for key, value in losses.parts.items() if key not in self.tasks]
        total = (weights * terms).sum() + sum(penalties) + self.offset()
        return replace(losses, total=total, balanced=True)

    def weigh(self, parts: Sequence[Tensor]) -> Tensor:
        """The weight of each loss [K]."""
        raise NotImplementedError

    def offset(self) -> Tensor | float:
        """What is added to the weighted sum."""
        return 0.0


class Pareto(Balance):
    """Weights that make the step's common gradient shortest (Lin et al., RecSys 2019).

    `minimum` is the least weight of each loss of a task. Gradients are those with respect to the
    dense parameters that several tasks reach (`shared`), or to every parameter, tables too (`all`).
    """

    def __init__(
        self,
        tasks: Mapping[str, str],
        module: nn.Module,
        minimum: Mapping[str, float],
        over: str = "shared",
    ) -> None:
        super().__init__(tasks)
        self.minimum = [minimum.get(task, 0.0) for task in self.tasks.values()]
        self.shared = over == "shared"
        tables = set(_tables(module)) if self.shared else set()
        self.over_ranks: Callable[[Tensor], Tensor] | None = None
        """The mean of a gradient over the processes that share a batch; None: it is whole."""
        # A plain list: the parameters belong to the module, not to the balance.
        self._over = [p for p in module.parameters() if p.requires_grad and p not in tables]

    def weigh(self, parts: Sequence[Tensor]) -> Tensor:
        gram = self._gram(parts)
        minimum = torch.tensor(self.minimum, dtype=gram.dtype, device=gram.device)
        return pareto_weights(gram, minimum)

    def _gram(self, parts: Sequence[Tensor]) -> Tensor:
        """Inner products of the losses' gradients, [K, K]."""
        # Of each loss by itself: in the graph of a stack all of them reach every parameter.
        per_part: list[tuple[Tensor | None, ...]] = [
            torch.autograd.grad(part, self._over, retain_graph=True, allow_unused=True)
            if part.requires_grad  # a task of frozen tables alone does not
            else (None,) * len(self._over)
            for part in parts
            if self._over
        ]
        if self.over_ranks is not None:
            per_part = [
                tuple(g if g is None else self.over_ranks(g) for g in of) for of in per_part
            ]
        count, device = len(parts), parts[0].device
        gram = torch.zeros(count, count, dtype=torch.float64, device=device)
        for gradients in zip(*per_part, strict=True):
            reached = {
                task
                for task, g in zip(self.tasks.values(), gradients, strict=True)
                if g is not None
            }
            if len(reached) > 1 or (reached and not self.shared):
                rows = _aligned(gradients)
                gram += rows @ rows.T
        return gram


class Uncertainty(Balance):
    """Sum of exp(-s_k) L_k + s_k with learned s_k, at first 0 (Kendall et al., CVPR 2018)."""

    def __init__(self, tasks: Mapping[str, str]) -> None:
        super().__init__(tasks)
        self.log_variance = nn.Parameter(torch.zeros(len(self.tasks)))

    def weigh(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.exp(-self.log_variance)

    def offset(self) -> Tensor:
        return self.log_variance.sum()


def make_balance(recipe: Recipe, module: nn.Module) -> Balance | None:
    """The balance that `train.balance` asks for."""
    balance = recipe.train.balance
    keys = TaskLosses(recipe).keys()
    tasks = {key: task for task, losses in keys.items() for key in losses.values()}
    if balance.kind == "pareto":
        return Pareto(tasks, module, balance.min, balance.over)
    return Uncertainty(tasks) if balance.kind == "uncertainty" else None


def pareto_weights(gram: Tensor, minimum: Tensor) -> Tensor:
    """Weights w >= minimum of sum 1 for gradients with inner products `gram` [K, K], float64.

    The least-squares solution of [[A, 1], [1, 0]] [w; l] = [-A c; 1 - sum c] is projected on
    {w >= 0, sum w = 1 - sum c}; then c is added.

    >>> pareto_weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]), torch.zeros(2)).tolist()
    [0.8, 0.2]
    """
    gram, minimum = gram.detach().double(), minimum.double()
    count, rest = len(gram), 1 - minimum.sum()
    # The weights do not depend on the gradients' scale, the solver's accuracy does.
    scale = gram.diagonal().max()
    gram = gram / torch.where(scale > 0, scale, torch.ones_like(scale))
    system = torch.ones(count + 1, count + 1, dtype=torch.float64, device=gram.device)
    system[:count, :count] = gram
    system[count, count] = 0.0
    wanted = torch.cat([-gram @ minimum, rest.reshape(1)])
    solved = torch.linalg.pinv(system, hermitian=True, rtol=1e-12) @ wanted
    return _on_simplex(solved[:count], rest) + minimum


def _on_simplex(point: Tensor, total: Tensor) -> Tensor:
    """The nearest point with entries >= 0 of that sum: all lowered by one number, cut at 0."""
    falling = point.sort(descending=True).values
    ranks = torch.arange(1, len(point) + 1, dtype=point.dtype, device=point.device)
    lowered = (falling.cumsum(0) - total) / ranks
    # The largest entries stay, as long as lowering them by their own excess leaves them positive.
    kept = (falling > lowered).sum().clamp(min=1)
    return (point - lowered[kept - 1]).clamp(min=0)


def _tables(module: nn.Module) -> list[nn.Parameter]:
    """The packed tables, whose gradients are sparse."""
    owners = [part for part in module.modules() if isinstance(part, Embeddings)]
    return [
        owner.get_parameter(packed.name)
        for owner in owners
        for packed in owner.table_groups
        if owner.body is None or not packed.trainable
    ]


def _aligned(gradients: Sequence[Tensor | None]) -> Tensor:
    """Gradients of one parameter as rows [K, entries], zeros for none; of tables, rows touched."""
    first = next(g for g in gradients if g is not None)
    if not first.is_sparse:
        empty = torch.zeros_like(first)
        return torch.stack([(empty if g is None else g).flatten().double() for g in gradients])
    parts = [None if g is None else g.coalesce() for g in gradients]
    touched = torch.unique(torch.cat([g.indices()[0] for g in parts if g is not None]))
    shape = (len(gradients), len(touched), *first.shape[1:])
    rows = torch.zeros(shape, dtype=torch.float64, device=first.device)
    for row, part in zip(rows, parts, strict=True):
        if part is not None:
            at = torch.searchsorted(touched, part.indices()[0])
            row[at] = part.values().double()
    return rows.flatten(1)
