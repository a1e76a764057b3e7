"""Adam over many parameters in one parallel pass, in C++; see adam.cpp."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from graphrec.nn.native.compiled import library

__all__ = ["AdamKernel", "AdamState", "adam_kernel", "fits"]


class AdamState(NamedTuple):
    """One parameter, its gradient and its slots of one shape, and how often it was updated."""

    weight: Tensor
    grad: Tensor
    mean: Tensor
    square: Tensor
    step: float


class _Parameter(ctypes.Structure):
    """As in adam.cpp."""

    _fields_: ClassVar = [
        ("weight", ctypes.c_void_p),
        ("grad", ctypes.c_void_p),
        ("mean", ctypes.c_void_p),
        ("square", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("step_size", ctypes.c_double),
        ("scale", ctypes.c_double),
    ]


class AdamKernel:
    """Kingma and Ba, Adam, 2015; with `decoupled` weight decay Loshchilov and Hutter, 2019."""

    def __init__(self, loaded: ctypes.CDLL) -> None:
        pointer, size, real, count = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_int
        self._adam = loaded.graphrec_adam
        self._adam.restype = None
        self._adam.argtypes = [pointer, size, real, real, count, real, real, real, count]

    def update(
        self,
        states: Sequence[AdamState],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        decoupled: bool,
    ) -> None:
        """Update weights and slots in place; all are contiguous float32 in CPU memory."""
        given = (_Parameter * len(states))()
        for one, state in zip(given, states, strict=True):
            one.weight, one.grad = state.weight.data_ptr(), state.grad.data_ptr()
            one.mean, one.square = state.mean.data_ptr(), state.square.data_ptr()
            one.count = state.weight.numel()
            one.step_size = lr / (1.0 - betas[0] ** state.step)
            one.scale = (1.0 - betas[1] ** state.step) ** 0.5
        threads = torch.get_num_threads()
        self._adam(given, len(given), lr, weight_decay, decoupled, *betas, eps, threads)


def fits(tensor: Tensor) -> bool:
    """Whether the kernel knows such a tensor."""
    known = tensor.device.type == "cpu" and tensor.dtype == torch.float32
    return known and tensor.layout == torch.strided and tensor.is_contiguous()


@cache
def adam_kernel() -> AdamKernel | None:
    """The kernel, or None where nothing can be compiled."""
    library_or_why = library()
    return None if isinstance(library_or_why, str) else AdamKernel(library_or_why)
