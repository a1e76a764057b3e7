"""Names of groups, nodes, composites and tasks: legal, and each given once."""

from __future__ import annotations

from collections.abc import Iterator

from graphrec.ground.errors import Problem, Span
from graphrec.recipe.model import Recipe, SequenceFeature
from graphrec.recipe.names import node_name
from graphrec.recipe.problem_text import Report
from graphrec.recipe.tree import Tree

__all__ = ["check_names"]

_KINDS = {"groups": "group", "graph": "node", "blocks": "composite", "tasks": "task"}


def check_names(recipe: Recipe, tree: Tree, report: Report) -> None:
    """Report names that can't be used (GR320) or are taken (GR321), and leave those parts out."""
    taken: dict[str, tuple[str, Span]] = {}
    for kind, name, path, span in _declared(recipe, tree):
        why = node_name(name, task=kind == "task")
        if why is not None:
            report(Problem("GR320", f"{kind} `{name[:60]}`: {why}", span, path))
        if kind == "task":
            continue
        if name in taken:
            other, first = taken[name]
            where = f"line {first.line}" if first.file == span.file else str(first)
            what = f"{kind} `{name[:60]}`: the name is taken by a {other} ({where})"
            report(
                Problem("GR321", what, span, path, "groups, nodes and composites share their names")
            )
        else:
            taken[name] = (kind, span)


def _declared(recipe: Recipe, tree: Tree) -> Iterator[tuple[str, str, str, Span]]:
    """(kind, name, path, place) of everything that takes a name, groups first."""
    implicit: set[str] = set()
    origin = recipe.origin
    for name, feature in recipe.features.items():
        span = origin.key(f"features.{name}") if origin else None
        if isinstance(feature, SequenceFeature) and span is not None:
            yield "sequence", name, f"features.{name}", span
    for name, feature in recipe.features.items():
        span = origin.value(f"features.{name}.group") if origin else None
        if feature.group is not None and feature.group not in implicit and span is not None:
            implicit.add(feature.group)
            yield "feature group", feature.group, f"features.{name}.group", span
    for section, kind in _KINDS.items():
        parts = tree.at(section)
        for name, part in (
            sorted(parts.value.items()) if parts and isinstance(parts.value, dict) else ()
        ):
            yield kind, name, f"{section}.{name}", part.key
