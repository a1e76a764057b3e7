"""The one table of losses: parameters, the predictions they fit, the function that computes them.

A loss is a class of parameters, as a block is; what computes it is named by path, so that nothing
here needs torch. Plugins define their own in the same way:

    class Huber(Loss):
        '''Squared error, beyond delta its tangent.'''

        forms = ("regression",)
        rows = "my_losses:huber"
        delta: float = 1.0

with `huber(output, label, delta)` giving the loss of each row. The recipe's checks, the schema, the
trainer and the importer read the table; `graphrec check-block module:Huber` tries one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["LOSSES", "Form", "Loss", "Parameters"]

Form = Literal["binary", "softmax", "regression", "prob"]
"""How a task is predicted: logits and probs [B]; logits and probs [B, C]; y [B]; probs [B] only."""


class Parameters(BaseModel):
    """What losses and metrics are declared by: fields are parameters, checked strictly."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    name: ClassVar[str] = ""
    """The name in recipes; unless given, the class's own in snake_case."""
    forms: ClassVar[tuple[Form, ...]]
    """The predictions it can be computed from."""
    group: ClassVar[str] = ""
    """The parameter that names a column by whose values rows belong together."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__)
        cls.name = cls.__dict__.get("name") or words.lower()

    @property
    def group_column(self) -> str | None:
        """The column by whose values rows belong together, if there is one."""
        return getattr(self, self.group) if self.group else None

    def given(self) -> dict[str, Any]:
        """The parameters but that of the group, as keyword arguments of what computes it."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != self.group}


class Loss(Parameters):
    """A loss: `rows` names a function (output, label, **parameters) -> the loss of each row [B].

    `output` are logits [B] (`binary`) or [B, C] (`softmax`), values [B] (`regression`); `label` [B]
    is a float, or an integer class below C; where a row has no label, its loss counts for nothing.
    `rows_of_prob` is the function for probabilities [B] (form `prob`), where `forms` has it. With a
    `group` both get the number of each row's group [B] as `group`, and labelled rows alone; where a
    loss `weighs`, also the rows' weights [B] as `weight`: what it gives for a row is averaged by
    them, so that it is its business what a row of a pair or list counts.
    """

    rows: ClassVar[str]
    rows_of_prob: ClassVar[str] = ""
    two_classes: ClassVar[bool] = False
    """Whether a softmax must have two classes."""
    weighs: ClassVar[bool] = False
    """Whether the function is given the rows' weights."""
    lognormal: ClassVar[bool] = False
    """Whether it reads logits [B, 3] of a zero-inflated lognormal, whose mean is the prediction."""


class Bce(Loss):
    """Binary cross entropy; label_smoothing e makes the target y (1 - e) + e / 2."""

    forms = ("binary", "prob")
    rows = "graphrec.train.loss_rows:bce"
    rows_of_prob = "graphrec.train.loss_rows:bce_of_prob"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that goes to the other outcome, halved."""
    pos_weight: Annotated[float, Field(gt=0)] = 1.0
    """Factor of positive rows; predictions are then no probabilities of the data."""


class Focal(Loss):
    """Binary cross entropy with a detached factor that fades easy rows (Lin et al., 2017)."""

    forms = ("binary",)
    rows = "graphrec.train.loss_rows:focal"
    gamma: Annotated[float, Field(ge=0)] = 2.0
    """How fast easy rows fade."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Weight of positive rows; negative ones have 1 - alpha."""


class Softmax(Loss):
    """Cross entropy over classes; label_smoothing e gives each class e / C."""

    forms = ("softmax",)
    rows = "graphrec.train.loss_rows:softmax"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that all classes get evenly."""


class Jrc(Loss):
    """Joint ranking and calibration within sessions (Sheng et al., 2023), two classes."""

    forms = ("softmax",)
    rows = "graphrec.train.loss_rows:jrc"
    two_classes = True
    group = "session"
    session: str
    """A feature or column: rows of one value are a session."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of the calibration; the ranking has 1 - alpha."""


class L2(Loss):
    """Squared error."""

    name = "l2"
    forms = ("regression",)
    rows = "graphrec.train.loss_rows:squared_error"


class Hinge(Loss):
    """max(0, margin - s x) with s = 1 for a positive row, else -1 (Cortes & Vapnik, 1995)."""

    forms = ("binary",)
    rows = "graphrec.train.loss_rows:hinge"
    margin: Annotated[float, Field(gt=0)] = 1.0
    """Rows this far on their own side cost nothing."""


class Huber(Loss):
    """Half the squared error up to delta, beyond it its tangent (Huber, 1964)."""

    forms = ("regression",)
    rows = "graphrec.train.loss_rows:huber"
    delta: Annotated[float, Field(gt=0)] = 1.0
    """Where the parabola becomes a line."""


class Ziln(Loss):
    """Zero-inflated lognormal for values that are mostly 0 (Wang et al., 2019).

    The head gives three numbers: the logit of a value above 0, and of such values the mean of
    the logarithm and, through softplus, its deviation. The prediction is the mean.
    """

    forms = ("regression",)
    rows = "graphrec.train.loss_rows:ziln"
    lognormal = True


class _Grouped(Loss):
    group = "session"
    weighs = True
    session: str
    """A feature or column: rows of one value are a list, others never meet."""


class Pairwise(_Grouped):
    """Mean of softplus(margin - (x_i - x_j)) over the pairs of a list with y_i > y_j.

    RankNet (Burges et al., 2005), which is BPR (Rendle et al., 2009) for clicks. A pair counts by
    the product of its rows' weights.
    """

    forms = ("binary", "regression")
    rows = "graphrec.train.list_rows:pairwise"
    margin: Annotated[float, Field(ge=0)] = 0.0
    """Distance that is wanted between the two."""


class Listwise(_Grouped):
    """Mean over lists of the cross entropy of softmax(x / temperature) with the list's labels.

    ListNet's top one (Cao et al., 2007); labels are divided by their sum, lists without any are
    left out. Rows of weight 0 are not in their list.
    """

    forms = ("binary", "regression")
    rows = "graphrec.train.list_rows:listwise"
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """What predictions are divided by."""


_ALL = (Bce, Focal, Hinge, Huber, Jrc, L2, Listwise, Pairwise, Softmax, Ziln)

LOSSES: Mapping[str, type[Loss]] = {loss.name: loss for loss in _ALL}
"""By the name in recipes."""
