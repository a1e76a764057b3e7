"""How far a result may be from float64 torch, and the comparison itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from graphrec.kernels import TritonMLP
from graphrec.nn.dense import MLP

__all__ = ["TOLERANCE", "check_mlp", "distances"]

TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 2e-6,
    torch.float16: 2e-3,
    torch.bfloat16: 1.2e-2,
}
"""Relative Frobenius error for one layer: output and every gradient."""


def distances(module: nn.Module, exact: nn.Module, x: Tensor, seed: int = 1) -> list[float]:
    """Relative errors of output, input gradient and parameter gradients of `module`.

    `exact` is the same module in float64. A gradient that is nearly zero by nature is measured
    against the output's gradient, for it has no relative error of its own.
    """
    torch.manual_seed(seed)
    y, grads = _run(module, x)
    wanted, exact_grads = _run(exact, x.double())
    floor = _cotangent(wanted).norm()
    pairs = [(y, wanted), *zip(grads, exact_grads, strict=True)]
    return [((a.double() - b).norm() / torch.maximum(b.norm(), floor)).item() for a, b in pairs]


def _run(module: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    x = x.clone().requires_grad_()
    y = module(x)
    wanted = [x, *module.parameters()]
    return y.detach(), list(torch.autograd.grad(y, wanted, _cotangent(y).to(y.dtype)))


def _cotangent(y: Tensor) -> Tensor:
    """The same numbers for every type, all of them exact in bf16."""
    generator = torch.Generator().manual_seed(7)
    steps = torch.randint(-8, 9, y.shape, generator=generator, dtype=torch.float64)
    return steps / 8


def check_mlp(
    make: Callable[[type[MLP]], MLP],
    rows: int,
    dtype: torch.dtype = torch.float32,
    tolerance: float | None = None,
) -> None:
    """The Triton twin of the MLP that `make` builds agrees with float64 torch on random rows."""
    torch.manual_seed(0)
    twin, plain = make(TritonMLP).to(dtype), make(MLP).to(dtype)
    for parameter in twin.parameters():
        nn.init.normal_(parameter, std=max(parameter.shape[-1], 4) ** -0.5)
    exact = make(MLP).double()
    exact.load_state_dict(twin.state_dict())
    plain.load_state_dict(twin.state_dict())
    x = torch.randn(rows, twin.in_features).to(dtype)
    errors = distances(twin, exact, x)
    limit = TOLERANCE[dtype] if tolerance is None else tolerance
    assert max(errors) <= limit, f"{errors} above {limit}"
    if dtype in (torch.bfloat16, torch.float16):
        eager = distances(plain, exact, x)
        assert max(errors) <= 1.5 * max(eager), f"{errors}; torch itself: {eager}"
