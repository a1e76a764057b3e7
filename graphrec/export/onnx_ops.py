"""Operators that ONNX has no words for, said in those it has, without padding and without loops.

ONNX runs the same flat lists as torch: rows of different lengths are sums and gathers over all
values at once. torch's own translation of `embedding_bag` loops over the bags, and it has none for
`repeat_interleave` with a known size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["DECOMPOSITIONS"]

_ATEN: Any = torch.ops.aten


def _counted(marks: Tensor, total: Any) -> Tensor:
    """How many of `marks` are at most t, for every t below `total`."""
    zeros = torch.zeros(total + 1, dtype=torch.int64)
    return zeros.scatter_add(0, marks, torch.ones_like(marks)).cumsum(0)[:total]


def _repeat_interleave(lengths: Tensor, *, output_size: Any) -> Tensor:
    return _counted(lengths.cumsum(0), output_size)


def _embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    assert mode == 0 and not include_last_offset, "tables sum, and averages scale the values"
    values = weight.index_select(0, indices)
    if per_sample_weights is not None:
        values = values * per_sample_weights.unsqueeze(1)
    bags = _counted(offsets, indices.shape[0]) - 1
    sums = values.new_zeros(offsets.shape[0], weight.shape[1]).index_add(0, bags, values)
    nothing = offsets.new_zeros(0)
    return sums, nothing, nothing, nothing


def _searchsorted(
    ends: Tensor,
    values: Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    up_to = values.unsqueeze(-1)
    passed = ends <= up_to if right or side == "right" else ends < up_to
    return passed.sum(-1)


DECOMPOSITIONS: dict[Any, Any] = {
    _ATEN.repeat_interleave.Tensor: _repeat_interleave,
    _ATEN._embedding_bag.default: _embedding_bag,
    _ATEN._embedding_bag_forward_only.default: _embedding_bag,
    _ATEN.embedding_bag.padding_idx: _embedding_bag,
    _ATEN.searchsorted.Tensor: _searchsorted,
}
"""For `ExportedProgram.run_decompositions`, before it becomes ONNX."""
