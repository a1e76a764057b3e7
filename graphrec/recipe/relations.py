"""`a -> b`, chains and joints -> one relation for each child, with its parents by name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from graphrec.ground.errors import Problem, Span
from graphrec.recipe.problem_text import Report
from graphrec.recipe.tree import INVALID, Tree, known, shown

__all__ = ["expand_relations"]

_FORM = "a relation is written  a -> b,  a -> b -> c  or  a + b -> c"
_TASK = re.compile(r"[^\s+>]+")


@dataclass
class _Child:
    """What the recipe says about one child: its parents and settings, with their places."""

    name: str
    key: Span
    parents: dict[str, Span] = field(default_factory=dict)
    settings: dict[str, Tree] = field(default_factory=dict)


def expand_relations(tree: Tree, report: Report) -> Tree:
    """The list of relations in canonical form, ordered by child."""
    children: dict[str, _Child] = {}
    if not isinstance(tree.value, list):
        if tree.value is not INVALID:
            what = f"expected a list of relations, got {shown(tree.value)}"
            report(Problem("GR202", what, tree.span, "relations", _FORM), "relations")
        report.breaks("relations")
        return tree.holding([])
    for number, item in enumerate(tree.value):
        _read(item, f"relations.{number}", children, report)
    relations = []
    for name in sorted(children):
        child = children[name]
        parents = [Tree(p, span, span) for p, span in sorted(child.parents.items())]
        place = Tree(None, child.key, child.key)
        value = {
            "parents": place.holding(parents),
            "child": place.holding(name),
            **{key: child.settings[key] for key in sorted(child.settings)},
        }
        relations.append(place.holding(value))
    return tree.holding(relations)


def _read(item: Tree, path: str, children: dict[str, _Child], report: Report) -> None:
    if item.value is INVALID:
        report.breaks("relations")
        return
    if isinstance(item.value, str):
        text, tree, span = item.value, item, item.span
        settings: dict[str, Tree] = {}
    elif isinstance(item.value, dict) and len(item.value) == 1:
        [(text, body)] = item.value.items()
        if not isinstance(body.value, dict):
            if body.value is not INVALID:
                what = f"expected a map of settings, got {shown(body.value)}"
                report(
                    Problem("GR202", what, body.span, path, "for example  a -> b: {hidden: [64]}")
                )
            report.breaks("relations")
            return
        tree, span, settings = None, body.key, body.value
    else:
        report(
            Problem(
                "GR202", f"expected a relation, got {shown(item.value)}", item.span, path, _FORM
            )
        )
        report.breaks("relations")
        return
    for parents, child in _edges(text, path, span, tree, report):
        _join(children, parents, child, span, settings, path, report)


def _edges(
    text: str, path: str, span: Span, tree: Tree | None, report: Report
) -> list[tuple[dict[str, Span], str]]:
    """(parents, child) of every arrow."""
    steps, start = [], 0
    for part in text.split("->") if len(text) < 10_000 else [""]:
        tasks = {}
        for match in _TASK.finditer(part):
            at, width = start + match.start(), len(match.group())
            tasks[match.group()] = tree.within(at, width) if tree else known(span, at, width)
        if part.count("+") != len(_TASK.findall(part)) - 1:
            tasks = {}
        steps.append(tasks)
        start += len(part) + 2
    if len(steps) < 2 or not all(steps) or any(len(step) > 1 for step in steps[1:]):
        report(Problem("GR204", f"`{text[:80]}` is no relation", span, path, _FORM))
        report.breaks("relations")
        return []
    return [(steps[i], next(iter(steps[i + 1]))) for i in range(len(steps) - 1)]


def _join(
    children: dict[str, _Child],
    parents: dict[str, Span],
    name: str,
    key: Span,
    settings: dict[str, Tree],
    path: str,
    report: Report,
) -> None:
    child = children.setdefault(name, _Child(name, key))
    for parent, span in parents.items():
        if parent in child.parents:
            first = child.parents[parent]
            what = f"`{parent} -> {name}` is written twice, first in line {first.line}"
            report(Problem("GR210", what, span, path))
            report.breaks("relations")
        child.parents.setdefault(parent, span)
    for word, setting in settings.items():
        earlier = child.settings.setdefault(word, setting)
        if earlier is not setting and earlier.plain() != setting.plain():
            where = f"line {earlier.span.line}"
            what = f"`{name}` has another `{word}` in {where}: its parents share one relation"
            report(Problem("GR205", what, setting.key, path, f"write  a + b -> {name}: {{...}}"))
            report.breaks("relations")
