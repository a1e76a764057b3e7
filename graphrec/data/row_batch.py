"""The arrays of a row reader as the features of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from graphrec.nn.batch import Batch, Jagged

__all__ = ["batch_of", "features_of"]


def batch_of(
    entries: Iterable[Mapping[str, Any]], arrays: Mapping[str, np.ndarray[Any, Any]]
) -> Batch:
    """The batch of these features; it shares the arrays' memory."""
    import torch

    from graphrec.nn.batch import Batch

    return Batch(features_of(entries, {k: torch.from_numpy(v) for k, v in arrays.items()}))


def features_of(
    entries: Iterable[Mapping[str, Any]], given: Mapping[str, Tensor]
) -> dict[str, Tensor | Jagged]:
    """The features by their names, from tensors by the names of the row reader's arrays."""
    return {str(entry["name"]): _feature(entry, given) for entry in entries}


def _feature(entry: Mapping[str, Any], given: Mapping[str, Tensor]) -> Tensor | Jagged:
    from graphrec.nn.batch import Jagged

    name = str(entry["name"])
    if name in given:
        return given[name]
    values: Any = given[f"{name}.values"]
    if entry.get("nested"):
        values = Jagged(values, given[f"{name}.lengths"])
    lengths = given[f"{entry.get('sequence', name)}.lengths"]
    return Jagged(values, lengths, given.get(f"{name}.weights"))
