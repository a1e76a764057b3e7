"""Results of a kernel compared with those of torch in float64.

The error of a tensor is ||actual - right|| over the larger of ||right|| and, for a gradient, the
norm of the gradients it was made from: a gradient that is exactly zero has no error of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isinf

import torch
from torch import Tensor

__all__ = ["Difference", "Results", "errors", "worst"]

TOLERANCES = {
    "fp64": (1e-12, 1e-12),
    "fp32": (2e-6, 1e-5),
    "fp16": (2e-3, 8e-3),
    "bf16": (1.2e-2, 5e-2),
}
"""Largest error by precision: of products and short sums, of attention, norms and long sums."""
SLACK = 1.5
"""A kernel may be this many times as far off as torch itself is in the same precision."""


@dataclass(frozen=True)
class Results:
    """Outputs and gradients by name (None: no gradient), and the norm of what went backwards."""

    values: Mapping[str, Tensor | None]
    backwards: float


@dataclass(frozen=True)
class Difference:
    """What is farthest from torch: its name, its error, and the error that was allowed.

    `failed` is what a kernel raised that gave no result at all.
    """

    what: str
    error: float
    allowed: float
    failed: str = ""

    @classmethod
    def failure(cls, raised: Exception) -> Difference:
        """That of a kernel that raised."""
        lines = str(raised).splitlines()
        return cls("", inf, 0.0, f"{type(raised).__name__}: {lines[0] if lines else ''}")

    @property
    def agrees(self) -> bool:
        return self.error <= self.allowed

    @property
    def told(self) -> str:
        """In words, for people."""
        if self.failed:
            return f"it fails ({self.failed})"
        if isinf(self.error):
            return f"{self.what} is missing, not finite, or of another shape"
        return f"{self.what} is off by {self.error:.1e}, {self.allowed:.1e} is allowed"


def errors(actual: Results, right: Results) -> dict[str, float]:
    """The error of every output and gradient; infinite where one is missing or of another shape."""
    error_of = {}
    for what, wanted in right.values.items():
        given = actual.values.get(what)
        if given is None or wanted is None:
            error_of[what] = 0.0 if given is wanted else inf
        elif given.shape != wanted.shape or not bool(torch.isfinite(given).all()):
            error_of[what] = inf
        else:
            scale = float(wanted.double().norm())
            if not what.startswith("output"):
                scale = max(scale, right.backwards)
            off = float((given.double().to(wanted.device) - wanted.double()).norm())
            error_of[what] = off / max(scale, 1e-30)
    return error_of


def worst(
    actual: Results, plain: Results, right: Results, precision: str, *, long_sums: bool
) -> Difference:
    """The result nearest to, or farthest beyond, what is allowed; `plain` is torch's own."""
    floor = TOLERANCES[precision][long_sums]
    own = errors(plain, right)
    differences = [
        Difference(what, error, max(floor, SLACK * own[what]))
        for what, error in errors(actual, right).items()
    ]
    return max(differences, key=lambda d: d.error / d.allowed, default=Difference("", 0.0, floor))
