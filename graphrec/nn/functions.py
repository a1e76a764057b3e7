"""The weight-free functions of the expression language, on tensors and on jagged histories.

They work on the last axis; a `Jagged` gives a `Jagged` of the same rows. Several jagged operands
are columns of one history: the compiler has checked that, here their lengths are not compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from graphrec.nn.batch import Jagged
from graphrec.nn.split import beside, one_row, rows

__all__ = [
    "abs",
    "exp",
    "log",
    "spread",
    "sqrt",
    "beside",
    "clip",
    "concat",
    "cos",
    "detach",
    "dot",
    "log1p",
    "lognormal_mean",
    "mask",
    "max",
    "mean",
    "normalize",
    "one_row",
    "relu",
    "power",
    "reshape",
    "rows",
    "sigmoid",
    "slice",
    "softmax",
    "stack",
    "sum",
    "tanh",
    "where",
]

Value = Tensor | Jagged


def _values(x: Value) -> Tensor:
    return x.values if isinstance(x, Jagged) else x


def _like(x: Value, values: Tensor) -> Value:
    return x.replace(values) if isinstance(x, Jagged) else values


def lognormal_mean(x: Tensor) -> Tensor:
    """Mean [B] of the zero-inflated lognormals whose three numbers are x [B, 3].

    They are the logit of a value above 0, the mean of the logarithm and, through softplus, its
    deviation. Wang et al., A Deep Probabilistic Model for Customer Lifetime Value Prediction, 2019.
    """
    x = x.float()
    deviation = F.softplus(x[:, 2])
    return torch.sigmoid(x[:, 0]) * torch.exp(x[:, 1] + 0.5 * deviation * deviation)


def concat(*xs: Value) -> Value:
    """One after another on the last axis."""
    if len(xs) == 1:
        return xs[0]
    return _like(xs[0], torch.cat([_values(x) for x in xs], dim=-1))


def stack(*xs: Tensor) -> Tensor:
    """N vectors [B, D] as fields [B, N, D]."""
    return torch.stack(xs, dim=1)


def mask(x: Value) -> Value:
    """Which steps are real: all that a Jagged has, and all fields."""
    values = _values(x)
    return _like(x, torch.ones(values.shape[:-1], dtype=torch.bool, device=values.device))


def sum(x: Value) -> Value:
    """Sum over the last axis, which stays as 1."""
    return _like(x, _values(x).sum(-1, keepdim=True))


def mean(x: Value) -> Value:
    """Mean over the last axis, which stays as 1."""
    return _like(x, _values(x).mean(-1, keepdim=True))


def max(x: Value) -> Value:
    """Maximum over the last axis, which stays as 1; equal maxima share the gradient."""
    return _like(x, _values(x).amax(-1, keepdim=True))


def dot(a: Value, b: Value) -> Value:
    """Inner product over the last axis, which stays as 1.

    >>> dot(torch.ones(2, 3), torch.ones(2, 3)).tolist()
    [[3.0], [3.0]]
    """
    return _like(a, (_values(a) * _values(b)).sum(-1, keepdim=True))


def cos(a: Value, b: Value) -> Value:
    """Cosine over the last axis, which stays as 1; 0 where a vector is 0."""
    return _like(a, F.cosine_similarity(_values(a), _values(b), dim=-1).unsqueeze(-1))


def normalize(x: Tensor) -> Tensor:
    """Divided by its length over the last axis; a vector of nearly no length is made no longer."""
    return F.normalize(x, dim=-1, eps=1e-6)


def sigmoid(x: Value) -> Value:
    """1 / (1 + exp(-x))."""
    return _like(x, torch.sigmoid(_values(x)))


def tanh(x: Value) -> Value:
    """Hyperbolic tangent."""
    return _like(x, torch.tanh(_values(x)))


def relu(x: Value) -> Value:
    """x where positive, else 0."""
    return _like(x, torch.relu(_values(x)))


def softmax(x: Value) -> Value:
    """Softmax over the last axis."""
    return _like(x, torch.softmax(_values(x), dim=-1))


def log1p(x: Value) -> Value:
    """sign(x) log(1 + |x|): as of the dense features, defined for negative numbers too."""
    values = _values(x)
    return _like(x, torch.sign(values) * torch.log1p(values.abs()))


def exp(x: Value) -> Value:
    """e to the power of x."""
    return _like(x, torch.exp(_values(x)))


def log(x: Value) -> Value:
    """Natural logarithm; of numbers above 0, see `log1p` and `clip` for others."""
    return _like(x, torch.log(_values(x)))


def abs(x: Value) -> Value:
    """|x|."""
    return _like(x, _values(x).abs())


def sqrt(x: Value) -> Value:
    """Square root, of numbers of at least 0."""
    return _like(x, torch.sqrt(_values(x)))


def spread(x: Tensor, steps: Value) -> Value:
    """The row's vector [B, D] at each of its steps, [T, D], or of its N fields, [B, N, D]."""
    if isinstance(steps, Tensor):
        return x.unsqueeze(1).expand(-1, steps.shape[1], -1)
    return steps.replace(x.index_select(0, steps.rows()))


def power(x: Value, exponent: int) -> Value:
    """x to the power of a whole number."""
    return _like(x, _values(x) ** exponent)


def clip(x: Value, low: float, high: float) -> Value:
    """x, but not below `low` nor above `high`."""
    return _like(x, _values(x).clamp(low, high))


def detach(x: Value) -> Value:
    """x as a constant: no gradient flows back."""
    return _like(x, _values(x).detach())


def where(condition: Value, x: Value | float, y: Value | float) -> Value:
    """x where the condition holds, else y; a width of 1 and plain numbers spread."""
    yes, no = (_values(v) if isinstance(v, Tensor | Jagged) else float(v) for v in (x, y))
    return _like(condition, torch.where(_values(condition), yes, no))


def slice(x: Value, start: int, stop: int) -> Value:
    """Columns `start` to `stop` (not included) of the last axis."""
    return _like(x, _values(x)[..., start:stop])


def reshape(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Every row as a tensor of these sizes: [B, N * D] with [N, D] gives [B, N, D]."""
    return x.reshape(x.shape[0], *sizes)
