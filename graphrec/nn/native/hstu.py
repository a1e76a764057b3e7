"""HSTU attention and its gradients over histories of different lengths, in C++; see hstu.cpp."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from graphrec.nn.native.compiled import library

__all__ = ["HSTUKernel", "Setting", "hstu_kernel"]


class Setting(NamedTuple):
    """What a call of the attention has besides q, k and v; the tensors are as in `HSTUKernel`."""

    starts: Tensor
    targets: Tensor | None
    alpha: float
    scale: float
    window: int
    context: int
    times: Tensor | None
    limits: Tensor | None


class _Shape(ctypes.Structure):
    """As in hstu.cpp."""

    _fields_: ClassVar = [
        ("rows", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("value_width", ctypes.c_int64),
        ("alpha", ctypes.c_float),
        ("inverse_scale", ctypes.c_float),
        ("window", ctypes.c_int64),
        ("context", ctypes.c_int64),
        ("positions", ctypes.c_int64),
        ("buckets", ctypes.c_int64),
    ]


class _Inputs(ctypes.Structure):
    """As in hstu.cpp."""

    _fields_: ClassVar = [
        (name, ctypes.c_void_p)
        for name in ("q", "k", "v", "starts", "targets", "position_bias", "time_bias")
    ] + [("times", ctypes.c_void_p), ("limits", ctypes.c_void_p)]


def _at(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


class HSTUKernel:
    """silu(q k^T alpha + bias) v / scale for q, k [T, H, D] and v [T, H, E], float32 on the CPU.

    `starts` [B + 1] are the rows' first steps and T, `targets` [B] how many steps at a row's end
    are candidates; both int64. `position_bias` [P] is by distance, `time_bias` [N] by the bucket
    of the difference of `times` [T] (int64), whose least differences are `limits` [N].
    All tensors are contiguous.
    """

    def __init__(self, loaded: ctypes.CDLL) -> None:
        pointer, count = ctypes.c_void_p, ctypes.c_int
        self._forward, self._backward = loaded.graphrec_hstu, loaded.graphrec_hstu_backward
        self._forward.restype = self._backward.restype = None
        self._forward.argtypes = [pointer, pointer, pointer, count]
        self._backward.argtypes = [pointer] * 8 + [count]

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        position_bias: Tensor | None,
        time_bias: Tensor | None,
        setting: Setting,
    ) -> Tensor:
        """The attended values, [T, H, E]."""
        out = torch.empty_like(v)
        shape, inputs = _structures(q, k, v, position_bias, time_bias, setting)
        self._forward(
            ctypes.byref(shape), ctypes.byref(inputs), out.data_ptr(), torch.get_num_threads()
        )
        return out

    def backward(
        self,
        grad: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        position_bias: Tensor | None,
        time_bias: Tensor | None,
        setting: Setting,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
        """Gradients of q, k, v and of both biases, each like what it is the gradient of."""
        shape, inputs = _structures(q, k, v, position_bias, time_bias, setting)
        of_q, of_k, of_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        # One sum a row: added up in the order of rows, whatever thread had which.
        of_position, of_time = (
            None if bias is None else bias.new_zeros(shape.rows, bias.shape[0])
            for bias in (position_bias, time_bias)
        )
        self._backward(
            ctypes.byref(shape),
            ctypes.byref(inputs),
            grad.data_ptr(),
            of_q.data_ptr(),
            of_k.data_ptr(),
            of_v.data_ptr(),
            _at(of_position),
            _at(of_time),
            torch.get_num_threads(),
        )
        sums = (None if rows is None else rows.sum(0) for rows in (of_position, of_time))
        of_position, of_time = sums
        return of_q, of_k, of_v, of_position, of_time


def _structures(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    position_bias: Tensor | None,
    time_bias: Tensor | None,
    setting: Setting,
) -> tuple[_Shape, _Inputs]:
    positions = 0 if position_bias is None else position_bias.shape[0]
    buckets = 0 if time_bias is None else time_bias.shape[0]
    shape = _Shape(
        setting.starts.shape[0] - 1,
        *q.shape[1:],
        v.shape[2],
        setting.alpha,
        1.0 / setting.scale,
        setting.window,
        setting.context,
        positions,
        buckets,
    )
    tensors = (q, k, v, setting.starts, setting.targets, position_bias, time_bias)
    inputs = _Inputs(*map(_at, (*tensors, setting.times, setting.limits)))
    return shape, inputs


@cache
def hstu_kernel() -> HSTUKernel | None:
    """The kernel, or None where nothing can be compiled."""
    loaded = library()
    return None if isinstance(loaded, str) else HSTUKernel(loaded)
