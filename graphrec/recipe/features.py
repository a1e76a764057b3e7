"""Features as data: one model for each type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from graphrec.recipe.calls import Call
from graphrec.recipe.strict_model import (
    CallText,
    Later,
    Model,
    Positive,
    Texts,
    Vocab,
    as_call,
    as_tuple,
)

__all__ = [
    "FEATURES",
    "AutoDis",
    "BucketFeature",
    "CrossFeature",
    "DenseFeature",
    "Feature",
    "IdFeature",
    "SequenceFeature",
]


class _Feature(Model):
    name: str
    """The feature's name; also its column unless `column` says otherwise."""
    column: str | None = None
    """Column of the data."""
    group: str | None = None
    """Implicit group the feature belongs to (besides `all`)."""
    side: Literal["user", "item", "context"] | None = None
    """Whose property it is: a `user` feature has one value per request."""


class _Looked(_Feature):
    dim: Positive
    """Width of the embedding."""
    pool: Literal["sum", "mean"] | None = None
    """How several values of one row become one vector; required for list columns."""
    sep: str | None = None
    """Separator of a text column that holds several values."""
    share: str | None = None
    """Name of a table that several features use."""
    init: CallText = Call("normal", (0.01,))
    """Initial weights: normal(std), uniform(bound), zeros."""
    trainable: bool = True
    """false freezes the table."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """Storage type of the table."""


class IdFeature(_Looked):
    """A categorical value, looked up in a table."""

    type: Literal["id"] = "id"
    vocab: Vocab
    """Rows as integers 0..N-1 (an integer), hash(N), file(path), fit or fit(min_count=k)."""
    weights: str | None = None
    """Column of per-value weights for pooling; `inside`: every value carries its own, 17:0.35."""
    pad: Annotated[int | float | str | None, Later()] = None
    """Value that fills up lists: it is no value."""
    default: int | str | None = None
    """Value used where the column is null."""
    oov: Literal["bucket", "error"] = "bucket"
    """What happens to unseen values: a row of their own, or an error."""


class BucketFeature(_Looked):
    """A number cut at edges, then looked up like an id."""

    type: Literal["bucket"] = "bucket"
    edges: Annotated[
        Call | tuple[float, ...],
        BeforeValidator(lambda v: as_tuple(as_call(v))),
        PlainSerializer(lambda v: str(v) if isinstance(v, Call) else list(v)),
        WithJsonSchema(
            {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "number"}}]}
        ),
    ]
    """Ascending cut points, or quantile(N)."""
    default: float | None = None
    """Value used where the column is null."""


class CrossFeature(_Looked):
    """The combination of two or more id features, hashed into a table of its own."""

    type: Literal["cross"] = "cross"
    of: Texts
    """The id features that are combined."""
    vocab: Vocab
    """hash(N)."""


class AutoDis(Model):
    """Soft bucketing of a number into an embedding (Guo et al., 2021)."""

    channels: Positive
    """Number of meta embeddings."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Softmax temperature."""
    skip: float = 0.1
    """Weight of the skip connection."""


class DenseFeature(_Feature):
    """A number, or a vector of numbers."""

    type: Literal["dense"] = "dense"
    width: Positive = 1
    """Numbers per row; a list column for more than one."""
    transform: Literal["none", "log1p", "zscore", "minmax"] = "none"
    """Applied before the model; statistics come from the training data unless given."""
    stats: Annotated[tuple[float, float], BeforeValidator(as_tuple)] | None = None
    """(mean, standard deviation) for zscore, (minimum, maximum) for minmax."""
    default: float | None = None
    """Value where the column is null, before the transform; else the mean (zscore, minmax) or 0."""
    dim: Positive | None = None
    """A field of this width: the numbers times a learned matrix [width, dim], without a bias."""
    autodis: AutoDis | None = None
    """Soft bucketing into an embedding of width dim."""
    sep: str | None = None
    """Separator of a text column that holds several numbers."""


class SequenceFeature(_Feature):
    """A history: one value of every base feature per step."""

    type: Literal["sequence"] = "sequence"
    of: Texts
    """Base features; their tables serve the history too."""
    max_len: Positive
    """Longest history kept."""
    keep: Literal["last", "first"] = "last"
    """Which end survives when a history is longer."""
    columns: dict[str, str] = {}
    """Column per base feature; default <sequence>__<feature>."""
    share: bool = True
    """false gives the history tables of its own."""
    sep: str | None = None
    """Separator of text columns."""
    pad: Annotated[int | float | str | None, Later()] = None
    """Value that fills up histories: a step that holds it in every column is no step."""


Feature = Annotated[
    IdFeature | BucketFeature | CrossFeature | DenseFeature | SequenceFeature,
    Field(discriminator="type"),
]


FEATURES: Mapping[str, type[_Feature]] = {
    "id": IdFeature,
    "dense": DenseFeature,
    "bucket": BucketFeature,
    "cross": CrossFeature,
    "sequence": SequenceFeature,
}
"""Type -> model."""
