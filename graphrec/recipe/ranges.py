"""Names that count up, written as a range: what a recipe's `names` reads back."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["ranged"]

_NUMBERED = re.compile(r"(.*?)(0|[1-9][0-9]*)")


def ranged(names: Sequence[str]) -> list[str]:
    """The names in their order, three or more neighbours that count up as one range.

    >>> ranged(["C1", "C2", "C3", "x", "y1"])
    ['C1..C3', 'x', 'y1']
    """
    written: list[str] = []
    run: list[tuple[str, int]] = []
    for name in (*names, ""):
        match = _NUMBERED.fullmatch(name)
        here = (match[1], int(match[2])) if match else None
        if run and here != (run[-1][0], run[-1][1] + 1):
            texts = [f"{prefix}{number}" for prefix, number in run]
            written += [f"{texts[0]}..{texts[-1]}"] if len(texts) > 2 else texts
            run = []
        if here is not None:
            run.append(here)
        elif name:
            written.append(name)
    return written
