"""`graphrec tune`: the values of a recipe's `search:` that evaluate best, found with Optuna.

study.py    the study: what was tried before, what to try next
trial.py    one training of the recipe with such values
tuned.py    what came of it: table, picture, the best recipe
"""

from graphrec.train.tuning.checks import default_metric
from graphrec.train.tuning.study import Tuning, tune
from graphrec.train.tuning.tuned import Tuned

__all__ = ["Tuned", "Tuning", "default_metric", "tune"]
