"""Numbers of weights: of the layers that blocks are made of, and a guess for other people's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

from graphrec.ground.activation_table import read_activation, row_of

__all__ = ["guess", "linear", "norm", "perceptron"]

_MULTIPLIERS = ("blocks", "experts", "levels", "layers")
"""Parameters that say how many of what the others describe."""


def linear(width: int, out: int, bias: bool = True) -> int:
    """Weights of x W^T + b."""
    return width * out + (out if bias else 0)


def norm(width: int, kind: str = "layer") -> int:
    """Scale and shift of a norm; `none` has neither."""
    return 0 if kind == "none" else 2 * width


def perceptron(
    width: int,
    hidden: Sequence[int],
    activation: str = "relu",
    kind: str = "none",
    bias: bool = True,
    out: int | None = None,
) -> int:
    """Weights of layers of Linear, norm and activation, and of a last Linear to `out`.

    >>> perceptron(4, [3], out=1)
    19
    """
    row = row_of(read_activation(activation)[0])
    learns = row.learns if row else ""
    count = 0
    for before, after in pairwise([width, *hidden]):
        # batch norm takes the place of the Linear's bias
        count += linear(before, after, bias and kind != "batch") + norm(after, kind)
        count += {"": 0, "one": 1, "each": after}[learns]
    return count + (linear([width, *hidden][-1], out, bias) if out is not None else 0)


def guess(settings: Mapping[str, Any], reads: Sequence[int]) -> int:
    """About how many weights a layer of these settings has, reading inputs of these widths.

    Lists of numbers are taken for widths of layers behind one another, single numbers for widths
    beside them: never far above what the layer has, so that no honest model is refused.
    """
    together = sum(reads)
    chains = [_chain(together, list(_numbers(value))) for value in settings.values()]
    plain = [v for k, v in settings.items() if type(v) is int and k not in _MULTIPLIERS]
    times = prod(v for k in _MULTIPLIERS if type(v := settings.get(k)) is int)
    return (max([*chains, 0]) + together * max([*plain, 0])) * times


def _numbers(value: object) -> Iterator[int]:
    """The numbers of a list of widths, nested ones in order."""
    if isinstance(value, tuple | list):
        for item in value:
            if type(item) is int:
                yield item
            else:
                yield from _numbers(item)


def _chain(width: int, widths: list[int]) -> int:
    return sum(a * b for a, b in pairwise([width, *widths])) if widths else 0
