"""A layer and its faster twin with the same weights, and what both give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graphrec.verify import layer_calls
from graphrec.verify.compare import errors
from graphrec.verify.layer_calls import cast

__all__ = ["near_on_a_gpu", "results", "twins"]

_ON_A_GPU = {torch.float32: 1e-5, torch.float16: 8e-3, torch.bfloat16: 5e-2}


def twins(twin: type[nn.Module], plain: type[nn.Module], *args: Any, **options: Any) -> Any:
    """Both, made alike and with equal weights."""
    torch.manual_seed(0)
    ours, theirs = twin(*args, **options), plain(*args, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def results(module: nn.Module, *inputs: Any) -> list[Tensor | None]:
    """Outputs, gradients of the inputs and of the weights."""
    torch.manual_seed(1)  # dropout
    return list(layer_calls.results(module, inputs, training=module.training).values.values())


def near_on_a_gpu(
    twin: nn.Module, plain: nn.Module, inputs: Sequence[Any], dtype: torch.dtype, limit: float = 0
) -> None:
    """The twin in `dtype` is near torch in float64, both on the GPU."""
    ours, exact = twin.cuda().to(dtype), plain.cuda().double()
    exact.load_state_dict(ours.state_dict())
    given = [cast(x, lambda t: t.to(dtype)) for x in inputs]
    off = errors(
        layer_calls.results(ours, given),
        layer_calls.results(exact, cast(given, Tensor.double)),
    )
    assert max(off.values()) <= max(limit, _ON_A_GPU[dtype]), off
