"""The one table of metrics: parameters, the predictions they fit, the class that computes them.

A metric is a class of parameters, as a loss is (see loss_table.py), and plugins define their own:

    class Brier(Metric):
        '''Mean squared difference of probability and label.'''

        forms = ("binary", "prob")
        computes = "my_metrics:BrierScore"

where `BrierScore(**parameters)` is a `torchmetrics.Metric` with update(preds, target, weight,
group) and compute() -> float, or None where there is no value. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from graphrec.recipe.loss_table import Form, Parameters

__all__ = ["METRICS", "Decay", "Metric"]


class Metric(Parameters):
    """A metric: `computes` names what is made from its parameters.

    It is updated with predictions, labels, perhaps weights, all [N], of labelled rows, and with a
    `group` the numbers of the rows' groups. Predictions are probabilities [N], or [N, C] of several
    classes, or values. With `ranks` only their order counts: they are log-odds (logits [N, C]), and
    `computes` is given `logits=True`.
    """

    computes: ClassVar[str]
    two_classes: ClassVar[bool] = True
    """Whether a softmax must have two classes, of which it sees one probability."""
    higher: ClassVar[bool] = False
    """Whether more is better."""
    positional: ClassVar[tuple[str, ...]] = ()
    """Parameters that are written without their name."""
    decays: ClassVar[bool] = False
    """Whether `train_metrics` may ask for it."""
    ranks: ClassVar[bool] = False
    """Whether it compares the order of rows alone."""

    def refusal(self, form: Form, classes: int) -> str | None:
        """Why these parameters can't be used for a task predicted so, or None."""
        return None


_BINARY: tuple[Form, ...] = ("binary", "prob", "softmax")
_NUMBERS: tuple[Form, ...] = ("regression", "binary", "prob", "softmax")


class _Weighted(Metric):
    weighted: bool = False
    """Whether rows count by the task's sample_weight."""


class Accuracy(_Weighted):
    """Share of rows whose most probable class, or probability above the threshold, is right."""

    computes = "graphrec.train.metrics:Accuracy"
    forms = _BINARY
    two_classes = False
    higher = True
    decays = True
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Above it the probability says yes."""
    top_k: Annotated[int, Field(ge=1)] = 1
    """Whether the right class is among so many most probable ones."""

    def refusal(self, form: Form, classes: int) -> str | None:
        if self.top_k > 1 and (form != "softmax" or self.top_k >= classes):
            count = classes if form == "softmax" else 2
            return f"top_k={self.top_k} of {count} classes is always right"
        return None


class Auc(_Weighted):
    """Area under the ROC curve, exact with ties counted half; bins: bounded memory instead."""

    computes = "graphrec.train.metrics:area_under_curve"
    forms = _BINARY
    higher = True
    ranks = True
    decays = True
    bins: Annotated[int, Field(ge=2)] | None = None
    """Number of bins of the scores."""


class Gauc(_Weighted):
    """Mean AUC within groups; groups of one class are left out."""

    computes = "graphrec.train.metrics:GroupedAuc"
    forms = _BINARY
    higher = True
    ranks = True
    positional = ("column",)
    group = "column"
    column: str
    """A feature or column: rows of one value are a group."""
    weight: Literal["impressions"] | None = None
    """Whether groups count by their rows, or by the rows' weights if `weighted`."""


class Gxauc(Metric):
    """XAUC within groups of two rows or more, weighted by their size."""

    computes = "graphrec.train.metrics:GroupedXauc"
    forms = _NUMBERS
    higher = True
    ranks = True
    positional = ("column",)
    group = "column"
    column: str
    """A feature or column: rows of one value are a group."""


class LogLoss(_Weighted):
    """Mean negative log likelihood of the probabilities."""

    name = "logloss"
    computes = "graphrec.train.metrics:LogLoss"
    forms = _BINARY
    two_classes = False
    decays = True


class Mae(_Weighted):
    """Mean absolute error."""

    computes = "graphrec.train.metrics:mean_absolute_error"
    forms = _NUMBERS
    decays = True


class Mse(_Weighted):
    """Mean squared error."""

    computes = "graphrec.train.metrics:mean_squared_error"
    forms = _NUMBERS
    decays = True


class MulticlassAuc(_Weighted):
    """Mean over classes of the AUC of one class against the rest."""

    computes = "graphrec.train.metrics:MulticlassAuc"
    forms = ("softmax",)
    two_classes = False
    higher = True
    ranks = True


class NormalizedEntropy(_Weighted):
    """Log loss over the entropy of the base rate (He et al., 2014)."""

    computes = "graphrec.train.metrics:NormalizedEntropy"
    forms = _BINARY
    decays = True


class PrAuc(_Weighted):
    """Area under the precision-recall curve in steps (average precision), exact with ties."""

    computes = "graphrec.train.metrics:AveragePrecision"
    forms = _BINARY
    higher = True
    ranks = True


class Rmse(_Weighted):
    """Root of the mean squared error."""

    computes = "graphrec.train.metrics:root_mean_squared_error"
    forms = _NUMBERS
    decays = True


class Xauc(Metric):
    """Share of pairs in the right order, ties wrong; `sample` pairs instead of all."""

    computes = "graphrec.train.metrics:Xauc"
    forms = _NUMBERS
    higher = True
    ranks = True
    decays = True
    sample: Annotated[int, Field(ge=1)] | None = None
    """Number of pairs drawn with a fixed seed."""


METRICS: Mapping[str, type[Metric]] = {
    metric.name: metric
    for metric in (
        *(Accuracy, Auc, Gauc, Gxauc, LogLoss, Mae, Mse, MulticlassAuc, NormalizedEntropy),
        *(PrAuc, Rmse, Xauc),
    )
}
"""By the name in recipes."""


class Decay(Parameters):
    """How a training metric decays: every `step` updates v <- rate v + (1 - rate) new."""

    forms = _NUMBERS
    step: Annotated[int, Field(ge=1)] = 100
    """Updates between two values."""
    rate: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Weight of the value so far."""
    bins: Annotated[int, Field(ge=2)] = 200
    """Bins of an auc."""
