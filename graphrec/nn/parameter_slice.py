"""A named piece of a packed parameter."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ParameterSlice"]


@dataclass(frozen=True)
class ParameterSlice:
    """`parameter[start:stop]`, known as `key` in checkpoints, in that `shape`, with its `init`."""

    key: str
    parameter: str
    start: int
    stop: int
    shape: tuple[int, ...]
    init: str
