"""Retrieval as data: which nodes meet, which items are compared, and how it is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from graphrec.recipe.calls import Call
from graphrec.recipe.label_spec import LabelSpec
from graphrec.recipe.strict_model import CallText, Model, Positive, Texts, as_tuple

__all__ = [
    "ITEM",
    "QUERY",
    "RETRIEVAL",
    "Candidates",
    "Retrieval",
    "SampledSoftmax",
    "cut_of",
    "wrong_metric",
]

RETRIEVAL = "retrieval"
"""What retrieval is called beside tasks: `retrieval.recall(10)`."""
QUERY, ITEM = "query", "item"
"""Keys of the vectors in what a module returns."""

_METRICS: Mapping[str, bool] = {"hit": True, "mrr": False, "ndcg": True, "recall": True}
"""By name, whether a cut has to be given."""


class Candidates(Model):
    """The items there are, and which of them a training row is compared with."""

    source: Annotated[str, Field(alias="from")]
    """File or glob with one row for each item (Parquet or CSV)."""
    key: str
    """Column that names the item, in that file and in the rows."""
    sample: Annotated[int, Field(ge=0)] = 512
    """Items drawn for each batch, with replacement: negatives of all its rows."""
    by: str = "uniform"
    """uniform, frequency (of the key in the training rows, plus one), or a column of weights."""
    in_batch: bool = True
    """Whether the items of the other rows of a batch are negatives, too."""
    hard: str | None = None
    """File with rows (query, key): items that are negatives of the rows of that query alone."""
    hard_by: str | None = None
    """Column that names the query, in that file and in the rows."""
    hard_sample: Positive = 8
    """Most hard negatives of a row, drawn without replacement."""


class SampledSoftmax(Model):
    """Cross entropy of a row's item among the items it is compared with."""

    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Scores are divided by it."""
    logq: bool = True
    """Subtract the logarithm of the chance that an item is among them (Yi et al., 2019)."""
    power: Annotated[float, Field(ge=0)] = 1.0
    """Several vectors of a query: weights are softmax(power * score) for its item (MIND)."""


class Retrieval(Model):
    """Two nodes whose inner product says how well an item answers a query."""

    query: str
    """Node of features of the user or context: [B, D], or [B, K, D] for several interests."""
    item: str
    """Node of features with `side: item`: [B, D]."""
    candidates: Candidates
    """The items."""
    label: LabelSpec | None = None
    """Rows where it is 0 teach nothing and are not measured; without a label all rows count."""
    similarity: Literal["dot", "cosine"] = "dot"
    """cosine divides both vectors by their length."""
    loss: dict[Literal["sampled_softmax"], SampledSoftmax] = {"sampled_softmax": SampledSoftmax()}
    """What is minimised."""
    seen: Texts = ()
    """Histories whose items are no candidates of their row: neither negatives nor results."""
    metrics: Annotated[tuple[CallText, ...], BeforeValidator(as_tuple)] = (
        Call("recall", (10,)),
        Call("recall", (100,)),
        Call("ndcg", (10,)),
    )
    """Evaluation metrics, by exact search over all items: recall(k), hit(k), ndcg(k), mrr."""

    @property
    def softmax(self) -> SampledSoftmax:
        """The settings of the loss."""
        return self.loss["sampled_softmax"]


def cut_of(call: Call) -> int | None:
    """The k of `recall(k)`; None for all ranks."""
    return call.args[0] if call.args else None


def wrong_metric(call: Call) -> tuple[str, str] | None:
    """Why this is no metric of retrieval, and what to write."""
    if call.name not in _METRICS:
        return f"no metric of retrieval `{call.name}`", f"one of {', '.join(_METRICS)}"
    cut: Any = call.args[0] if len(call.args) == 1 and not call.kwargs else None
    if not call.args and not call.kwargs and not _METRICS[call.name]:
        return None
    if type(cut) is not int or cut < 1:
        return f"{call}: one whole number of 1 or more is expected", f"{call.name}(10)"
    return None
