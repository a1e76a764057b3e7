"""Plain values -> the text of a recipe, as a person would write it."""

from __future__ import annotations

from typing import Any

from graphrec.importers.tzrec.convert import Converted
from graphrec.importers.tzrec.merge_families import families, usual_dim
from graphrec.recipe.yaml_text import aligned, remark, wrapped

__all__ = ["recipe_text"]


def recipe_text(recipe: Converted, source: str, remarks: list[str], schema: str) -> str:
    """The recipe, with the editor's line first and every remark as a comment."""
    lines = [f"# yaml-language-server: $schema={schema}"]
    lines += remark(f"Imported from {source}.")
    if remarks:
        lines.append("# Without counterpart here, or done otherwise (lines of that file):")
        for text in remarks:
            lines += remark(text, "  ")
    lines += ["graphrec: 1", f"name: {recipe['name']}"]
    if recipe["data"]:
        lines += wrapped("data: ", _whole(recipe["data"]))
    dim = usual_dim(recipe.features)
    if dim is not None:
        lines.append(f"defaults: {{feature: {{dim: {dim}}}}}")
    lines.append("features:")
    for family in [*families(recipe.features, dim), *recipe.sequences]:
        lines += wrapped("  - ", _whole(family))
    for section in ("groups", "graph", "tasks", "losses", "retrieval"):
        if recipe[section]:
            lines.append(f"{section}:")
            lines += aligned(_whole(recipe[section]))
    if recipe["relations"]:
        lines.append("relations:")
        for relation in recipe["relations"]:
            lines += _relation(relation)
    for section in ("kernels", "train"):
        if recipe[section]:
            lines += wrapped(f"{section}: ", _whole(recipe[section]))
    return "\n".join(lines) + "\n"


def _relation(relation: Any) -> list[str]:
    if isinstance(relation, str):
        return [f"  - {relation}"]
    [(edge, settings)] = relation.items()
    return wrapped(f"  - {edge}: ", _whole(settings))


def _whole(value: Any) -> Any:
    """Numbers of protobuf are floats: whole ones as a person writes them."""
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return int(value) if whole else value
