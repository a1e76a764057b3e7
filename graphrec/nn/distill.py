"""Losses between what parts of a model give: a student's and its teacher's, steps of a funnel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Hint", "OrderCalibrated", "Similarity"]

_SHORTEST = 1e-8


def _wide(x: Tensor) -> Tensor:
    """In float32 at least: autocast's types are too coarse for a sum over rows."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _mean(rows: Tensor, weight: Tensor | None) -> Tensor:
    """The mean of rows [B], by weights [B, 1] if there are; 0 where nothing counts."""
    if weight is None:
        return rows.sum() / max(rows.shape[0], 1)
    weight = weight.reshape(-1).to(rows.dtype).detach()
    total = weight.sum()
    some = total != 0
    return torch.where(some, (rows * weight).sum() / torch.where(some, total, 1.0), 0.0)


class Hint(nn.Module):
    """How far a student [B, D] is from a teacher [B, D] that gets no gradient; a number.

    `squared`: the mean of squares over rows and columns. `soft`: T^2 times the cross entropy of
    the outputs at temperature T, sigmoids of one column, else softmaxes. Rows count by `weight`
    [B, 1]. Hinton et al., Distilling the Knowledge in a Neural Network, 2015; Romero et al.,
    FitNets, 2015; Zhou et al., Rocket Launching, 2018.
    """

    def __init__(self, kind: str = "squared", temperature: float = 1.0) -> None:
        super().__init__()
        if kind not in ("squared", "soft"):
            raise ValueError(f"unknown kind `{kind}`; there are squared, soft")
        self.kind, self.temperature = kind, temperature

    def forward(self, student: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
        student, teacher = _wide(student), _wide(teacher.detach())
        return _mean(self._rows(student, teacher), weight)

    def _rows(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.kind == "squared":
            return (student - teacher).square().mean(1)
        student, teacher = student / self.temperature, teacher / self.temperature
        if student.shape[1] == 1:
            target = torch.sigmoid(teacher)
            rows = F.binary_cross_entropy_with_logits(student, target, reduction="none")[:, 0]
        else:
            rows = -(torch.softmax(teacher, 1) * torch.log_softmax(student, 1)).sum(1)
        return rows * self.temperature**2

    def extra_repr(self) -> str:
        return f"kind={self.kind}, temperature={self.temperature}"


class Similarity(nn.Module):
    """How unlike a student's layer [B, D] and a teacher's are; no gradient reaches the teacher.

    `cosine`: the mean of 1 - cos. `euclid`: the root of the sum of squares over the batch. Rows
    count by `weight` [B, 1], in `euclid` by what it is to its mean. Zhou et al., Rocket Launching,
    2018.
    """

    def __init__(self, kind: str = "cosine") -> None:
        super().__init__()
        if kind not in ("cosine", "euclid"):
            raise ValueError(f"unknown kind `{kind}`; there are cosine, euclid")
        self.kind = kind

    def forward(self, student: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
        student, teacher = _wide(student), _wide(teacher.detach())
        if self.kind == "cosine":
            pair = (F.normalize(x, dim=1, eps=_SHORTEST) for x in (student, teacher))
            first, second = pair
            return _mean(1 - (first * second).sum(1), weight)
        square = _mean((student - teacher).square().sum(1), weight) * student.shape[0]
        # At 0 the root has no slope; there nothing is left to learn.
        apart = square > 0
        return torch.where(apart, torch.sqrt(torch.where(apart, square, 1.0)), 0.0)

    def extra_repr(self) -> str:
        return f"kind={self.kind}"


class OrderCalibrated(nn.Module):
    """Mean over rows and neighbours of max(0, p_next - p) for probabilities [B, 1] of a funnel.

    Xi et al., Modeling the Sequential Dependence among Audience Multi-step Conversions with
    Multi-task Learning in Targeted Display Advertising (AITM), KDD 2021.
    """

    def forward(self, *steps: Tensor) -> Tensor:
        rises = [F.relu(after - before) for before, after in zip(steps, steps[1:], strict=False)]
        together = _wide(torch.cat(rises, 1))
        return together.sum() / max(together.numel(), 1)
