"""Initial weights that depend on the seed and a node's name only, not on any order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import nn

__all__ = ["drawn_later", "initialize", "is_drawn_later"]

_DRAWN_LATER = ContextVar("graphrec_drawn_later", default=False)


@contextmanager
def drawn_later() -> Iterator[None]:
    """Tables made inside hold whatever memory held, until `initialize`: it draws them anyway.

    For whoever makes a generated module: twice the numbers of a large table take seconds.
    """
    token = _DRAWN_LATER.set(True)
    try:
        yield
    finally:
        _DRAWN_LATER.reset(token)


def is_drawn_later() -> bool:
    """Whether this runs inside `drawn_later`."""
    return _DRAWN_LATER.get()


def initialize(module: nn.Module, seed: int) -> None:
    """Redraw the weights of every child of `module` under sha256(seed, its name).

    A child's own `reset(seed)` is used where it has one (tables: a seed per table); otherwise
    `reset_parameters()` runs on it and everything in it.
    """
    for name, child in module.named_children():
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        own = int.from_bytes(digest[:8], "big") >> 1
        reset = getattr(child, "reset", None)
        if callable(reset):
            reset(own)  # leaves alone what has no memory
            continue
        if any(p.is_meta for p in child.parameters()):
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(own)
            child.apply(_reset)


def _reset(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
