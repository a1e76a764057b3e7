"""The ranking that variational dropout has learned: the probability that a feature can be dropped.

Ma et al., Towards a Better Tradeoff between Effectiveness and Efficiency in Pre-Ranking, 2021.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from graphrec.graph import Group
from graphrec.nn import VariationalDropout
from graphrec.train.evaluate_run import Trained
from graphrec.train.importance.subjects import owners

__all__ = ["drop_probabilities"]


def drop_probabilities(run: Trained) -> Mapping[str, Mapping[str, float]]:
    """Group -> its features with their p, the lowest (most important) first.

    Groups without `regularize: {variational_dropout: ...}` are not there.
    """
    learned = {}
    for name, part in owners(run.compiled, run.module).items():
        op = run.compiled.graph[name].op
        if isinstance(part, VariationalDropout) and isinstance(op, Group):
            drop = torch.sigmoid(part.logit.detach()).tolist()
            ranked = sorted(zip(drop, op.features, strict=True))
            learned[name] = {feature: p for p, feature in ranked}
    return learned
