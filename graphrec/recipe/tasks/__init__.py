"""What a task may say about losses and metrics, and whether it fits; nothing here imports torch.

`check_tasks` is called by the compiler, so every mismatch (an `auc` on a regression, two classes
for `bce`, a misspelt parameter) is a recipe error with a place, never a failure at the first batch.
The numbers behind the names are computed in `graphrec.train`.
"""

from graphrec.recipe.tasks.spec import (
    INSIDE,
    Form,
    decay_parameters,
    form_of,
    grouping_columns,
    has_inside,
    has_two_outcomes,
    is_lognormal,
    key,
    loss_parameters,
    metric_parameters,
    own_form,
    read_metric,
    selection,
    suffix,
)
from graphrec.recipe.tasks.task_findings import check_tasks

__all__ = [
    "INSIDE",
    "Form",
    "check_tasks",
    "decay_parameters",
    "form_of",
    "grouping_columns",
    "has_inside",
    "has_two_outcomes",
    "is_lognormal",
    "key",
    "loss_parameters",
    "metric_parameters",
    "own_form",
    "read_metric",
    "selection",
    "suffix",
]
