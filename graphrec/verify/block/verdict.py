"""What a check can say, and the layer it looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from graphrec.verify.block.example import Example

__all__ = ["Skipped", "Unfit", "mixes_rows", "reported", "smooth"]

T = TypeVar("T")


class Unfit(AssertionError):
    """What a block does not hold to, in words for its author."""


class Skipped(Exception):
    """A check that has nothing to look at, and why."""


def reported(doing: str, act: Callable[[], T]) -> T:
    """What `act` gives; an exception it raises is the author's, told with what was being done."""
    try:
        return act()
    except Unfit:
        raise
    except Exception as error:
        raise Unfit(f"{doing}: {type(error).__name__}: {error}") from error


def smooth(example: Example) -> nn.Module:
    """The layer in double precision, its weights moved away from the corners of ReLU."""
    torch.manual_seed(1)
    layer = example.layer().double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return layer


def mixes_rows(layer: nn.Module) -> bool:
    """Whether the layer has batch statistics or drops at random: in training rows do not repeat."""
    norms = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd, nn.AlphaDropout)
    return any(isinstance(part, norms) or hasattr(part, "running_mean") for part in layer.modules())
