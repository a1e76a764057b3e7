"""Findings of several checks of models: what clashes, what is no value, what is listed twice."""

from __future__ import annotations

from collections.abc import Iterator

from graphrec.ground.errors import Problem

__all__ = ["clash", "twice", "wrong"]


def clash(path: str, message: str, help: str = "") -> Problem:
    """A setting that does not go with another one."""
    return Problem("GR205", message, path=path, help=help)


def wrong(path: str, message: str, help: str = "") -> Problem:
    """A value that can't be."""
    return Problem("GR202", message, path=path, help=help)


def twice(names: tuple[str, ...], path: str) -> Iterator[Problem]:
    """Names that come a second time in a list."""
    for i, name in enumerate(names):
        if name in names[:i]:
            yield Problem("GR210", f"`{name}` is listed twice", path=f"{path}.{i}")
