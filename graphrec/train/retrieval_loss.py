"""The loss of a retriever: sampled softmax over the rows that wanted an item."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from graphrec.data.chunk import NULL_KEY
from graphrec.nn.batch import Batch
from graphrec.nn.sampled_softmax import sampled_softmax
from graphrec.recipe.model import Retrieval
from graphrec.recipe.retrieval import RETRIEVAL

__all__ = ["PART", "retrieval_loss", "wanted"]

PART = f"{RETRIEVAL}_loss"
"""Its name among the parts of a batch's losses."""


def retrieval_loss(
    retrieval: Retrieval, predictions: Mapping[str, Tensor], batch: Batch
) -> tuple[Tensor, Tensor]:
    """The mean over the rows that wanted their item, and the number of these rows."""
    assert batch.compared is not None, "the loader draws what rows are compared with"
    settings = retrieval.softmax
    rows = sampled_softmax(
        predictions["query"],
        predictions["item"],
        batch.compared,
        settings.temperature,
        settings.logq,
        settings.power,
    )
    weight = wanted(batch, retrieval.candidates.key).to(rows)
    number = weight.sum()
    return (rows * weight).sum() / number.clamp(min=1), number


def wanted(batch: Batch, key: str) -> Tensor:
    """Which rows [B] have an item, and one that was wanted: all of them without a label."""
    label = batch.labels.get(RETRIEVAL)
    named = torch.from_numpy(np.asarray(batch.columns[key]) != NULL_KEY)
    return named if label is None else named.to(label.device) & (label > 0)
