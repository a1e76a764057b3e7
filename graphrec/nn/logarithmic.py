"""Crosses of any order, learnt: the logarithmic neurons of AFN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphrec.nn.activations import BatchNorm
from graphrec.nn.dense import Linear

__all__ = ["Logarithmic"]

_LEAST = 1e-7
"""Magnitudes below it count as it: the logarithm of 0 is no number."""


class Logarithmic(nn.Module):
    """`neurons` products of powers of the fields: [B, N, D] -> [B, neurons D].

    exp(norm(W norm(log |x|))) for each of the D numbers: W [neurons, N] holds the exponents, so a
    neuron is a cross of a learnt order. Batch norms over the fields and over the neurons keep the
    exponents small. Cheng et al., Adaptive Factorization Network, AAAI 2020.
    """

    def __init__(self, num_fields: int, neurons: int) -> None:
        super().__init__()
        self.before = BatchNorm(num_fields)
        self.powers = Linear(num_fields, neurons)
        self.behind = BatchNorm(neurons)

    def forward(self, fields: Tensor) -> Tensor:
        logs = torch.log(fields.abs().clamp(min=_LEAST)).transpose(1, 2)  # [B, D, N]
        crosses = torch.exp(self.powers(self.before(logs)))
        normed: Tensor = self.behind(crosses)
        return normed.transpose(1, 2).flatten(1)
