"""A feature in the making, and how its column is to be understood."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from graphrec.ground.errors import Span

__all__ = ["Feature", "Reading", "is_number"]


@dataclass
class Feature:
    """A feature in the making: its settings as a family of a recipe has them."""

    type: str
    settings: dict[str, Any]
    span: Span
    name: str = ""
    pooling: str = "sum"
    """How a history of it is pooled where it stands among plain features."""

    @property
    def width(self) -> int:
        """Width of what a group gives of it."""
        wide = self.settings.get("dim") or self.settings.get("width") or 1
        return int(wide)

    def same_table(self, other: Feature) -> bool:
        """Whether both can be looked up in one table (or are the same kind of number)."""
        kinds = ("vocab", "edges", "dim", "width", "transform", "stats", "autodis")
        alike = all(self.settings.get(key) == other.settings.get(key) for key in kinds)
        return self.type == other.type and alike


@dataclass(frozen=True)
class Reading:
    """How columns are to be understood: already encoded, or as a step of a history.

    `sep` stands between the values of one text where a feature says nothing else.
    """

    encoded: bool
    step: bool = False
    sep: str = "\x1d"


def is_number(text: str) -> bool:
    """Whether a text is a decimal number."""
    return re.fullmatch(r"[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?", text) is not None
