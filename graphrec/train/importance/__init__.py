"""Which features, groups and nodes a trained model lives on, and the recipe without the rest.

permute.py   permutation importance: what is lost when rows swap a feature's values
subjects.py  what can be permuted: columns of a batch, outputs of a node
dropout.py   the ranking that variational dropout has learned
reduce.py    the recipe with the most important features only
importance_report.py  rankings for people and as data
"""

from __future__ import annotations

from graphrec.train.importance.dropout import drop_probabilities
from graphrec.train.importance.importance_report import Rank, Ranking, importance
from graphrec.train.importance.permute import Effect, Importance, permutation_importance
from graphrec.train.importance.reduce import Reduced, reduce_recipe

__all__ = [
    "Effect",
    "Importance",
    "Rank",
    "Ranking",
    "Reduced",
    "drop_probabilities",
    "importance",
    "permutation_importance",
    "reduce_recipe",
]
