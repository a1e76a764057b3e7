"""Scores of all pairs of candidates and steps of one history, in C++; see scores.cpp."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from graphrec.nn.native.compiled import library

__all__ = ["ScoreKernel", "ScoreLayer", "score_kernel"]


class ScoreLayer(NamedTuple):
    """x W^T + b [.., out], and a rectifier if `rectified`; float32."""

    weight: Tensor
    bias: Tensor | None
    rectified: bool


class _Layer(ctypes.Structure):
    """As in scores.cpp."""

    _fields_: ClassVar = [
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("inputs", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        ("rectified", ctypes.c_int64),
    ]


class ScoreKernel:
    """A small perceptron over every pair of a candidate and a step, float32 in CPU memory."""

    def __init__(self, loaded: ctypes.CDLL) -> None:
        pointer, size, count = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
        self._scores = loaded.graphrec_scores
        self._scores.restype = None
        self._scores.argtypes = [
            *(pointer, size, size, pointer, size, size),  # query, steps
            *(pointer, pointer, size, pointer, size, count),  # the first layer
            *(pointer, size, pointer, count),  # the others, the result
        ]

    def scores(
        self,
        query: Tensor,
        steps: Tensor,
        of_query: Tensor,
        of_product: Tensor,
        first: ScoreLayer,
        later: Sequence[ScoreLayer],
    ) -> Tensor:
        """Scores [N, L] of query [N, Dq] and steps [L, D], Dq <= D.

        The first layer is query (of_query + diag(s) of_product)^T, weights [H, Dq], plus `first`
        of the step alone; `later` go on from there, the last of them to one number.
        """
        query, steps = query.contiguous(), steps.contiguous()
        of_query, of_product = of_query.contiguous(), of_product.contiguous()
        count, depth = query.shape
        biases = torch.nn.functional.linear(steps, first.weight, first.bias)
        kept = [(layer.weight.contiguous(), layer.bias, layer.rectified) for layer in later]
        layers = (_Layer * len(kept))()
        for one, (weight, bias, rectified) in zip(layers, kept, strict=True):
            one.weight, one.bias = weight.data_ptr(), None if bias is None else bias.data_ptr()
            one.outputs, one.inputs, one.rectified = *weight.shape, rectified
        out = query.new_empty(count, steps.shape[0])
        self._scores(
            *(query.data_ptr(), count, depth, steps.data_ptr(), *steps.shape),
            *(of_query.data_ptr(), of_product.data_ptr(), of_query.shape[1]),
            *(biases.data_ptr(), biases.shape[1], first.rectified),
            *(layers, len(kept), out.data_ptr(), torch.get_num_threads()),
        )
        return out


@cache
def score_kernel() -> ScoreKernel | None:
    """The kernel, or None where nothing can be compiled: torch's operators do the same."""
    library_or_why = library()
    return None if isinstance(library_or_why, str) else ScoreKernel(library_or_why)
