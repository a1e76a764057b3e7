"""How far a result may be from float64 torch, and the comparison itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from graphrec.kernels import TritonMLP
from graphrec.nn.dense import MLP

__all__ = ["TOLERANCE", "check_mlp", "check_twin", "distances"]

TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 2e-6,
    torch.float16: 2e-3,
    torch.bfloat16: 1.2e-2,
}
"""Relative Frobenius error for one layer: output and every gradient."""


def distances(module: nn.Module, exact: nn.Module, *inputs: Any, seed: int = 1) -> list[float]:
    """Relative errors of every output, input gradient and parameter gradient of `module`.

    `exact` is the same module in float64; both get `inputs` (tensors, Jagged, tuples of them) in
    their own type. A gradient that is nearly zero by nature is measured against the outputs'
    gradient, for it has no relative error of its own.
    """
    torch.manual_seed(seed)
    outputs, grads = _run(module, inputs)
    torch.manual_seed(seed)
    wanted, exact_grads = _run(exact, _floats(inputs, lambda t: t.double()))
    floor = torch.stack([_cotangent(y).norm() for y in wanted]).norm()
    pairs = zip([*outputs, *grads], [*wanted, *exact_grads], strict=True)
    return [_distance(a, b, floor) for a, b in pairs]


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
    inputs = _floats(tuple(inputs), lambda t: t.to(dtype))
    errors = distances(ours, exact, *inputs)
    limit = TOLERANCE[dtype] if tolerance is None else tolerance
    assert max(errors) <= limit, f"{errors} above {limit}"
    if dtype in (torch.bfloat16, torch.float16):
        theirs = distances(eager, exact, *inputs)
        assert max(errors) <= 1.5 * max(theirs), f"{errors}; torch itself: {theirs}"


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


def _run(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[list[Tensor], list[Tensor | None]]:
    """Every output that is a float, and the gradients of the floats among inputs and parameters."""
    inputs = _floats(inputs, lambda t: t.clone().requires_grad_())
    outputs = _leaves(module(*inputs))
    wanted = [*_leaves(inputs), *module.parameters()]
    cotangents = [_cotangent(y).to(y.dtype) for y in outputs]
    grads = torch.autograd.grad(outputs, wanted, cotangents, allow_unused=True)
    return [y.detach() for y in outputs], list(grads)


def _distance(ours: Tensor | None, exact: Tensor | None, floor: Tensor) -> float:
    if ours is None or exact is None:
        assert ours is exact, "a gradient is there in one of the two only"
        return 0.0
    assert ours.shape == exact.shape
    difference = (ours.double() - exact).norm()
    if difference.isnan():
        return float("inf")  # `max` of a list would pass over NaN
    return float(difference / torch.maximum(exact.norm(), floor)) if ours.numel() else 0.0


def _floats(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    def one(leaf: Any) -> Any:
        return change(leaf) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf

    return pytree.tree_map(one, tree)


def _leaves(tree: Any) -> list[Tensor]:
    leaves = pytree.tree_leaves(tree)
    return [x for x in leaves if isinstance(x, Tensor) and x.is_floating_point()]


def _cotangent(y: Tensor) -> Tensor:
    """The same numbers for every type, all of them exact in bf16."""
    generator = torch.Generator().manual_seed(7)
    steps = torch.randint(-8, 9, y.shape, generator=generator, dtype=torch.float64)
    return steps / 8
