"""The tables' own CPU kernel, in C++.

`kernel()` gives it, or the reason why there is none: then tables run on torch's operators, with
equal results. No kernel is an error nowhere.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from graphrec.nn.native.compiled import library, threads_for

__all__ = ["KERNELS", "RULES", "RowKernel", "TableStep", "choose", "kernel"]

KERNELS = ("auto", "native", "fbgemm", "torch")
RULES = ("sgd", "adagrad", "rowwise_adagrad", "adam")


class TableStep(NamedTuple):
    """One table's part of an update: its `slots` of state [rows, dim] or [rows, 1] in float32.

    `grads` [N, dim] are stored as the table is. For Adam `lr` is the step size after correction.
    """

    weight: Tensor
    slots: Sequence[Tensor]
    grads: Tensor
    lr: float
    weight_decay: float


class _Table(ctypes.Structure):
    """As in rows.cpp."""

    _fields_: ClassVar = [
        ("weight", ctypes.c_void_p),
        ("first", ctypes.c_void_p),
        ("second", ctypes.c_void_p),
        ("grads", ctypes.c_void_p),
        ("dim", ctypes.c_int64),
        ("bf16", ctypes.c_int64),
        ("lr", ctypes.c_double),
        ("weight_decay", ctypes.c_double),
    ]


class RowKernel:
    """Gather and update of rows of packed tables, float32 or bfloat16, in CPU memory."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, size, real, count = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_int
        self._rows = library.graphrec_rows
        self._rows.argtypes = [pointer, size, size, pointer, pointer, pointer, count]
        self._rows.restype = size
        self._gather = library.graphrec_gather
        self._gather.argtypes = [pointer, count, pointer, size, size, pointer, count]
        self._gather.restype = None
        self._update = library.graphrec_update
        self._update.argtypes = [count, pointer, size, pointer, size, real, real, real, count]
        self._update.restype = None

    def rows(self, ids: Sequence[Tensor], first: Tensor, end: Tensor) -> tuple[Tensor, int]:
        """Rows [N, columns] of ids [N] of several columns, and a column with a wrong one, or -1."""
        columns = [column.contiguous() for column in ids]
        count = columns[0].shape[0]
        out = first.new_empty(count, len(columns))
        pointers = (ctypes.c_void_p * len(columns))(*[column.data_ptr() for column in columns])
        wrong: int = self._rows(
            pointers,
            count,
            len(columns),
            first.data_ptr(),
            end.data_ptr(),
            out.data_ptr(),
            threads_for(out.numel()),
        )
        return out, wrong

    def gather(self, weight: Tensor, rows: Tensor) -> Tensor:
        """`weight[rows]` in float32, [N, dim]; rows must be right."""
        out = weight.new_empty(rows.shape[0], weight.shape[1], dtype=torch.float32)
        self._gather(
            weight.data_ptr(),
            weight.dtype == torch.bfloat16,
            rows.data_ptr(),
            rows.shape[0],
            weight.shape[1],
            out.data_ptr(),
            threads_for(out.numel()),
        )
        return out

    def update(
        self,
        rule: str,
        rows: Tensor,
        tables: Sequence[TableStep],
        *,
        eps: float,
        betas: tuple[float, float],
    ) -> None:
        """Sum gradients of equal `rows` [N] and apply `rule` once to every distinct row.

        All `tables` are updated at the same rows: repeats are looked for once.
        """
        given = (_Table * len(tables))()
        for one, table in zip(given, tables, strict=True):
            one.weight, one.grads = table.weight.data_ptr(), table.grads.data_ptr()
            one.first, one.second = (*(slot.data_ptr() for slot in table.slots), None, None)[:2]
            one.dim, one.bf16 = table.weight.shape[1], table.weight.dtype == torch.bfloat16
            one.lr, one.weight_decay = table.lr, table.weight_decay
        self._update(
            RULES.index(rule),
            given,
            len(tables),
            rows.data_ptr(),
            rows.shape[0],
            eps,
            *betas,
            threads_for(sum(table.grads.numel() for table in tables)),
        )


def choose(wanted: str, weight: Tensor) -> tuple[RowKernel | None, str]:
    """The kernel for a packed table, or None (torch's operators) and why.

    `wanted`: `auto`, `torch`, `fbgemm` (updates only: see `choose_fbgemm`) or `native`; the last is
    a RuntimeError where it can't be had.
    """
    if wanted in ("torch", "fbgemm"):
        return None, ""
    if weight.device.type != "cpu":
        why = f"the table is on {weight.device.type}"
    elif weight.dtype not in (torch.float32, torch.bfloat16):
        why = f"the table is stored as {str(weight.dtype).removeprefix('torch.')}"
    elif type(weight) not in (Tensor, torch.nn.Parameter) or not weight.is_contiguous():
        why = "the table is not a plain contiguous tensor"
    else:
        kernel_or_why = kernel()
        if isinstance(kernel_or_why, RowKernel):
            return kernel_or_why, ""
        why = kernel_or_why
    if wanted == "native":
        raise RuntimeError(f"no native kernel for tables: {why}")
    return None, why


@cache
def kernel() -> RowKernel | str:
    """The kernel, compiled if this machine has not done so before, or why there is none."""
    library_or_why = library()
    return library_or_why if isinstance(library_or_why, str) else RowKernel(library_or_why)
