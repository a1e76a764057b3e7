"""Target attention where one history serves all queries: the candidates of a request.

With one history of steps s_l, the first layer over query q_n, step and product is
q_n (Wq + diag(s_l) Wp)^T + s_l Ws^T + b: a Linear of the query alone, whose weight and bias belong
to the step. No product is written down, and nothing is repeated for each candidate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from graphrec.nn.activations import BatchNorm
from graphrec.nn.batch import Jagged
from graphrec.nn.dense import MLP, Dense, Linear
from graphrec.nn.native.scores import ScoreKernel, ScoreLayer, score_kernel
from graphrec.nn.products import product

__all__ = ["attended", "is_one", "scores"]

_ELEMENTS = 1 << 20
"""Numbers of the first layer's output that are made at once, 4 MiB: measured from 2^15 to 2^21."""


def is_one(query: Tensor, steps: Jagged) -> bool:
    """Whether a single history stands beside several queries."""
    return steps.num_rows == 1 and query.shape[0] != 1


def scores(mlp: MLP, query: Tensor, steps: Tensor, parts: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The MLP over query [N, Dq], step [L, D] and product, [N, L]; for evaluation.

    `parts` are the first layer's weights [H, D] that meet the query, the step and the product.
    """
    count, width = query.shape
    if not count or not steps.shape[0]:
        return query.new_zeros(count, steps.shape[0])
    first, *rest = (cast(Dense, layer) for layer in mlp.layers)
    of_query, of_steps, of_product = parts
    of_query, of_product = of_query[:, :width], of_product[:, :width]
    # A prepared module has its weights in their own type.
    query, steps = query.contiguous().to(of_query.dtype), steps.to(of_query.dtype)
    out = cast(Linear, mlp.out)
    fused = _fused(query, [first, *rest])
    if fused is not None:
        alone = ScoreLayer(of_steps, first.affine()[1], first.activation == "relu")
        later = [ScoreLayer(*layer.affine(), layer.activation == "relu") for layer in rest]
        last = ScoreLayer(*out.affine(), False)
        return fused.scores(query, steps, of_query, of_product, alone, [*later, last])
    biases = F.linear(steps, of_steps, first.affine()[1])
    chunks = []
    for some, bias in _in_turns(steps, biases, count * first.out_features):
        weight = torch.addcmul(of_query, some[:, None, :width], of_product)  # [l, H, Dq]
        z = _activated(first, query, weight.flatten(0, 1), bias.flatten())
        for layer in rest:
            z = _activated(layer, z, *layer.affine())
        chunks.append(out(z).view(count, -1))
    return chunks[0] if len(chunks) == 1 else torch.cat(chunks, dim=1)


def _in_turns(steps: Tensor, biases: Tensor, numbers: int) -> list[tuple[Tensor, Tensor]]:
    """Steps and their biases, as many at once as make `_ELEMENTS` of so many numbers a step."""
    if torch.compiler.is_compiling():
        return [(steps, biases)]  # a program is for any sizes: the number of turns is none of it
    turns = math.ceil(steps.shape[0] * numbers / _ELEMENTS)
    at_once = math.ceil(steps.shape[0] / turns)
    pieces = zip(torch.split(steps, at_once), torch.split(biases, at_once), strict=True)
    return list(pieces)


def _fused(query: Tensor, layers: Sequence[Dense]) -> ScoreKernel | None:
    """The compiled kernel where it knows such layers: rectifiers or nothing behind each."""
    plain = all(_is_plain(layer) for layer in layers)
    known = plain and _is_plain_inference(query) and type(query) is Tensor
    return score_kernel() if known else None


def _is_plain(layer: Dense) -> bool:
    """Whether it is a Linear and a rectifier or nothing; prepared weights hold the batch norm."""
    norm = layer.norm is None or (layer.ready is not None and isinstance(layer.norm, BatchNorm))
    return norm and layer.activation in ("none", "relu") and not layer.training


def _activated(layer: Dense, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`layer` with another weight [n * out, in], [..., out]."""
    x = x.to(weight.dtype)
    return layer.finish(product(x, weight, bias).view(-1, layer.out_features))


def _is_plain_inference(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
    )


def attended(scores: Tensor, steps: Tensor) -> Tensor:
    """Sum over l of softmax(scores)_l s_l: scores [N, L], steps [L, D], result [N, D]."""
    if scores.dtype in (torch.bfloat16, torch.float16):
        scores = scores.float()
    shares = torch.softmax(scores, dim=1)
    return shares.to(steps.dtype) @ steps
