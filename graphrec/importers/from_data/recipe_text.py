"""Names and values as a recipe writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from graphrec.recipe import yaml_text
from graphrec.recipe.names import feature_name, node_name

__all__ = ["aligned", "feature", "free", "node", "ranged"]


def feature(column: str) -> str:
    made = re.sub(r"[^A-Za-z0-9_]+", "_", column).strip("_")[:60] or "column"
    made = made if feature_name(made) is None else f"f_{made}"
    return column if feature_name(column) is None else made


def node(column: str, word: str) -> str:
    made = re.sub(r"[^a-z0-9_]+", "_", column.lower()).strip("_")[:60] or word
    return made if node_name(made) is None else f"{word}_{made}"


def free(name: str, taken: set[str]) -> str:
    made, number = name, 2
    while made in taken:
        made, number = f"{name}_{number}", number + 1
    taken.add(made)
    return made


def ranged(names: Sequence[str]) -> list[str]:
    """Names that count up as a range.

    >>> ranged(["C1", "C2", "C3", "x", "y1"])
    ['C1..C3', 'x', 'y1']
    """
    made: list[str] = []
    run: list[tuple[str, int]] = []
    for name in (*names, ""):
        found = re.fullmatch(r"(.*?)(0|[1-9][0-9]*)", name)
        here = (found[1], int(found[2])) if found else None
        if run and here != (run[-1][0], run[-1][1] + 1):
            texts = [f"{prefix}{number}" for prefix, number in run]
            made += [f"{texts[0]}..{texts[-1]}"] if len(texts) > 2 else texts
            run = []
        if here is not None:
            run.append(here)
        elif name:
            made.append(name)
    return made


def aligned(entries: Iterable[tuple[str, str]]) -> list[str]:
    """Entries whose values are YAML already, under each other."""
    return yaml_text.aligned({name: yaml_text.Written(value) for name, value in entries})
