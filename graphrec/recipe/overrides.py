"""`-o path=value`: the last layer of a recipe, with the same rules for values and keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from graphrec.ground.errors import Problem, Span, nearest, suggestion
from graphrec.recipe.merge import merge
from graphrec.recipe.reader import read_value
from graphrec.recipe.tree import INVALID, Tree, shown

__all__ = ["Override", "apply", "read_override", "retold"]

_PART = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^."'\s]+))\s*(?:\.|\Z)""")
_NAMED = {
    "features": "feature",
    "groups": "group",
    "graph": "node",
    "tasks": "task",
    "blocks": "block",
}


@dataclass(frozen=True)
class Override:
    """One `-o`: its text, the path in parts, and the value."""

    text: str
    parts: tuple[str, ...]
    value: Tree

    def problem(self, message: str, help: str = "") -> Problem:
        """A finding that shows the override as it was typed."""
        return refused(self.text, self.value.span.line, message, help)


def refused(text: str, number: int, message: str, help: str = "", code: str = "GR203") -> Problem:
    """A finding about override `number`; its path is the override itself."""
    typed = f"-o {text}" if len(text) <= 120 else f"-o {text[:117]}..."
    return Problem(code, f"{typed}: {message}", Span(None, number, 1), typed, help)


def retold(problem: Problem, texts: Sequence[str]) -> Problem:
    """A finding at a key or value that an override set, told as one about the override."""
    span = problem.span
    if span is None or span.file is not None or problem.path.startswith("-o "):
        return problem
    text = texts[span.line - 1]
    if problem.code != "GR201":
        where = problem.path if not text.startswith(problem.path) else ""
        told = f"{where}: {problem.message}" if where else problem.message
        refusal = refused(text, span.line, told, problem.help, problem.code)
        return replace(refusal, severity=problem.severity)
    parent = problem.path.rpartition(".")[0]
    hint, _, rest = problem.help.rpartition("   ")
    near = f"; {hint}" if hint else ""
    under = f" under {parent}" if parent else ""
    return refused(text, span.line, f"{problem.message}{under}{near}", rest)


def read_override(text: str, number: int) -> Override | list[Problem]:
    """Read override number `number` (1-based) of the command line, or say what is wrong with it."""
    path, equals, value_text = text.partition("=")
    if not equals:
        return [
            refused(
                text, number, "expected path=value, got no `=`", "for example  -o train.batch=512"
            )
        ]
    parts = _parts(path)
    if not parts:
        return [refused(text, number, "expected a path such as train.batch before `=`")]
    if parts[0] == "extends":
        return [
            refused(
                text, number, "extends can't be overridden", "write a recipe that extends the other"
            )
        ]
    if not value_text.strip():
        return [
            refused(
                text, number, "the value is missing", "write '' for an empty text, null to delete"
            )
        ]
    value, problems = read_value(value_text, None, number)
    if problems:
        return [refused(text, number, p.message, p.help, p.code) for p in problems]
    if value is None:
        return [refused(text, number, "the value is missing")]
    return Override(text, parts, value)


def _parts(path: str) -> tuple[str, ...]:
    """The keys of a dotted path; quotes keep a dot inside a key."""
    parts, at = [], 0
    while at < len(path):
        match = _PART.match(path, at)
        if match is None:
            return ()
        parts.append(next(group for group in match.groups() if group is not None))
        at = match.end()
    return () if path.rstrip().endswith(".") else tuple(parts)


def apply(tree: Tree, override: Override, report: Callable[[Problem], None]) -> Tree:
    """The recipe with one override laid over it."""
    node, parts = tree, override.parts
    for depth, part in enumerate(parts[:-1]):
        where = ".".join(parts[: depth + 1])
        entry = node.at(part)
        if entry is None:
            if depth == 1 and parts[0] in _NAMED:
                report(_unknown(override, _NAMED[parts[0]], part, list(node.value)))
                return tree
            break
        if entry.value is INVALID:
            return tree
        if not isinstance(entry.value, dict):
            what = f"{where} is {shown(entry.value)}, it has no `{parts[depth + 1]}`"
            report(override.problem(what, _replace_it(where, entry)))
            return tree
        node = entry
    span, layer = override.value.span, override.value
    for part in reversed(parts):
        layer = Tree({part: layer.under(span)}, span, span)
    return merge(tree, layer, lambda p: report(override.problem(p.message, p.help)))


def _unknown(override: Override, kind: str, name: str, known: list[str]) -> Problem:
    near = nearest(name, known)
    hint = f"; did you mean `{near}`?" if near else ""
    return override.problem(f"no {kind} `{name}`{hint}", suggestion("", known))


def _replace_it(where: str, entry: Tree) -> str:
    return f"replace the whole of it:  -o {where}=..." if isinstance(entry.value, list) else ""
