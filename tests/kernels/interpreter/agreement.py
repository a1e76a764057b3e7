"""How far a result may be from float64 torch, and the comparison itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graphrec.kernels import TritonMLP
from graphrec.nn.dense import MLP
from graphrec.verify.compare import SLACK, TOLERANCES, errors
from graphrec.verify.layer_calls import cast, results

__all__ = ["TOLERANCE", "check_mlp", "check_twin", "distances"]

KINDS = {"fp64": "float64", "fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
TOLERANCE = {getattr(torch, kind): TOLERANCES[name][0] for name, kind in KINDS.items()}
"""Relative Frobenius error for one layer: output and every gradient."""


def distances(module: nn.Module, exact: nn.Module, *inputs: Any, seed: int = 1) -> list[float]:
    """Relative errors of every output, input gradient and parameter gradient of `module`.

    `exact` is the same module in float64; both get `inputs` (tensors, Jagged, tuples of them) in
    their own type.
    """
    both = []
    for layer, given in ((module, inputs), (exact, cast(inputs, Tensor.double))):
        torch.manual_seed(seed)
        both.append(results(layer, given, training=layer.training))
    return list(errors(*both).values())


def check_twin(
    make: Callable[[type[Any]], nn.Module],
    twin: type[nn.Module],
    plain: type[nn.Module],
    inputs: Sequence[Any],
    dtype: torch.dtype = torch.float32,
    tolerance: float | None = None,
    seed: int = 0,
) -> None:
    """`make(twin)` agrees with `make(plain)` in float64: every output and every gradient.

    `inputs` are cast to `dtype` where they are floating; all parameters are drawn anew. The limit
    is TOLERANCE[dtype] unless `tolerance` says otherwise; in low precision the twin must also not
    be worse than 1.5 times torch itself in that precision. There a ReLU whose input is nearly zero
    turns a rounding into a whole gradient, for torch as for the twin: take a `seed` without one.
    """
    torch.manual_seed(seed)
    ours, eager = make(twin).to(dtype), make(plain).to(dtype)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=max(parameter.shape[-1], 4) ** -0.5)
    exact = make(plain).double()
    for other in (exact, eager):
        other.load_state_dict(ours.state_dict())
    inputs = cast(tuple(inputs), lambda t: t.to(dtype))
    off = distances(ours, exact, *inputs)
    limit = TOLERANCE[dtype] if tolerance is None else tolerance
    assert max(off) <= limit, f"{off} above {limit}"
    if dtype in (torch.bfloat16, torch.float16):
        theirs = distances(eager, exact, *inputs)
        assert max(off) <= SLACK * max(theirs), f"{off}; torch itself: {theirs}"


def check_mlp(
    make: Callable[[type[MLP]], MLP],
    rows: int,
    dtype: torch.dtype = torch.float32,
    tolerance: float | None = None,
) -> None:
    """The Triton twin of the MLP that `make` builds agrees with float64 torch on random rows."""
    torch.manual_seed(0)
    x = torch.randn(rows, make(MLP).in_features)
    check_twin(make, TritonMLP, MLP, (x,), dtype, tolerance)
