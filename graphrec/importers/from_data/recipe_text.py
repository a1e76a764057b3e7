"""Names and values as a recipe writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from graphrec.recipe import yaml_text
from graphrec.recipe.names import feature_name, node_name

__all__ = ["aligned", "feature", "free", "node"]


def feature(column: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_]+", "_", column).strip("_")[:60] or "column"
    name = name if feature_name(name) is None else f"f_{name}"
    return column if feature_name(column) is None else name


def node(column: str, word: str) -> str:
    name = re.sub(r"[^a-z0-9_]+", "_", column.lower()).strip("_")[:60] or word
    return name if node_name(name) is None else f"{word}_{name}"


def free(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    taken.add(candidate)
    return candidate


def aligned(entries: Iterable[tuple[str, str]]) -> list[str]:
    """Entries whose values are YAML already, under each other."""
    return yaml_text.aligned({name: yaml_text.Written(value) for name, value in entries})
