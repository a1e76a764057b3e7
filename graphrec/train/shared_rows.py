"""Evaluation rows that are training rows too: their scores say nothing of rows not yet seen."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from graphrec.nn.batch import Batch, Jagged

__all__ = ["SharedRows"]

_FACTOR = 0x2545F4914F6CDD1D  # of xorshift*; products wrap
_EVERY, _THEN = 50, 8  # so many batches, then every eighth: it shall cost nothing
_SAMPLE = 1 << 16  # training rows that tell how often rows are equal by chance


class SharedRows:
    """Counts how many of some evaluation rows come by in training, by hashes of all they hold."""

    def __init__(self, evaluated: Batch) -> None:
        hashes = _hashes(evaluated)
        self.rows = len(hashes)
        """The evaluation rows looked for."""
        self._wanted, self._of = torch.unique(hashes, return_inverse=True)
        self._found = torch.zeros(len(self._wanted), dtype=torch.bool)
        self._sample: list[Tensor] = []
        self._sampled = self._seen = self._batches = 0

    @property
    def shared(self) -> int:
        """The evaluation rows seen in training so far."""
        return int(self._found[self._of].sum())

    @property
    def by_chance(self) -> float:
        """How many would be seen where both are drawn from the same few values, at most."""
        if not self._sample:
            return 0.0
        _, times = torch.unique(torch.cat(self._sample), return_counts=True)
        pairs = float((times * (times - 1) // 2).sum()) + 1  # one more, for those not met yet
        equal = pairs / max(self._sampled * (self._sampled - 1) / 2, 1.0)
        return self.rows * -math.expm1(-equal * self._seen)

    def add(self, batch: Batch) -> None:
        """Look at a training batch, or pass over it where there are many."""
        self._batches += 1
        if self._batches > _EVERY and self._batches % _THEN:
            return
        hashes = _hashes(batch)
        self._found |= torch.isin(self._wanted, hashes)
        self._seen += len(hashes)
        if self._sampled < _SAMPLE:
            self._sample.append(hashes)
            self._sampled += len(hashes)


def _hashes(batch: Batch) -> Tensor:
    """An integer [B] of each row's features and labels."""
    total = torch.zeros(batch.num_rows, dtype=torch.int64)
    parts = [*sorted(batch.features.items()), *sorted(batch.labels.items())]
    for number, (_, value) in enumerate(parts):
        total = total * 31 + _mixed(value, number, batch.num_rows)
    return total


def _mixed(value: Tensor | Jagged, number: int, rows: int) -> Tensor:
    if isinstance(value, Jagged):
        inner = value.values
        at = torch.repeat_interleave(value.lengths)  # of a list of lists, too
        # the place in its list counts, or a history would equal its reverse
        steps = torch.arange(len(at)) - (torch.cumsum(value.lengths, 0) - value.lengths)[at]
        own = _mixed(inner, number, len(at)) * (2 * steps + 1)
        return torch.zeros(rows, dtype=torch.int64).index_add_(0, at, own)
    plain = value.detach().cpu().reshape(rows, math.prod(value.shape[1:]))
    bits = plain.float().view(torch.int32) if plain.is_floating_point() else plain
    mixed = (bits.long() + number + 1) * _FACTOR
    mixed = (mixed ^ (mixed >> 29)) * (2 * torch.arange(bits.shape[1]) + 1)
    return mixed.sum(1)
