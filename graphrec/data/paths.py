"""Relative paths of a recipe: they start at the folder of the file that wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from graphrec.data.faults import bad_data, shown
from graphrec.recipe.model import IdFeature, Recipe

__all__ = ["folder_of", "vocabulary_file"]


def folder_of(recipe: Recipe, path: str) -> Path:
    """Where a relative path written at `path` starts; for an override, the working directory."""
    span = recipe.origin.value(path) if recipe.origin else None
    return Path(span.file).parent if span and span.file else Path()


def vocabulary_file(recipe: Recipe, feature: IdFeature) -> Any:
    """The values of `file(path)`, Arrow texts in the order of the lines.

    Raises DataError for a missing file, bad UTF-8, empty and repeated lines.
    """
    written = str(feature.vocab.args[0])
    path = folder_of(recipe, f"features.{feature.name}.vocab") / written
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise bad_data("GR709", f"vocabulary {path} of feature `{feature.name}`: {fault}") from None
    values = pa.array(lines, pa.large_string())
    found = pc.value_counts(values)
    for value, count in zip(found.field("values"), found.field("counts"), strict=True):
        if count.as_py() > 1 or value.as_py() == "":
            line = len(lines) - lines[::-1].index(value.as_py())
            what = f"{shown(value.as_py())} again" if value.as_py() else "empty"
            raise bad_data(
                "GR709", f"vocabulary {path}, line {line}: {what}", "one value a line, each once"
            )
    return values
