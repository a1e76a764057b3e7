"""How much work a training step is: operations of its products, rows looked up, parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from graphrec.nn import gather
from graphrec.nn.batch import Batch
from graphrec.nn.embedding import Embeddings

__all__ = ["Work", "work_of"]


@dataclass(frozen=True)
class Work:
    """Floating point operations of products forward and backward, rows of tables, dense numbers."""

    forward: float
    backward: float
    lookups: float
    dense: float


def work_of(module: nn.Module, batch: Batch) -> Work:
    """What one step of this module is on this batch; its gradients are cleared afterwards."""
    rows = 0
    read = gather._read

    def counted(weight: Tensor, part: gather.Part, kernel: Any) -> Tensor:
        nonlocal rows
        # in units of 64 bytes, as random rows were timed
        rows += part.rows.numel() * max(1, weight.shape[1] * weight.element_size() // 64)
        return read(weight, part, kernel)

    known = {torch.ops.mkldnn._linear_pointwise: _linear_flops}
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        with patch.object(gather, "_read", counted):
            outputs = module(batch)
        forward = float(counter.get_total_flops())
        torch.stack([y.sum() for y in outputs.values() if y.requires_grad]).sum().backward()
        backward = float(counter.get_total_flops()) - forward
    module.zero_grad()
    tables = {
        id(one.get_parameter(packed.name))
        for one in module.modules()
        if isinstance(one, Embeddings)
        for packed in one.table_groups
    }
    dense = sum(p.numel() for p in module.parameters() if id(p) not in tables)
    return Work(forward, backward, float(rows), float(dense))


def _linear_flops(x: Any, weight: Any, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    """x [..., K] times W^T [K, N]."""
    rows = 1
    for size in x[:-1]:
        rows *= size
    return int(2 * rows * x[-1] * weight[0])
