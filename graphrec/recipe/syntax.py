"""libyaml's complaints in words a recipe's author can use, at the line where the slip is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphrec.ground.errors import Problem, Span

__all__ = ["explain"]

# Where the construct began is nearer to the slip than where the scanner noticed it.
_FROM_START = (
    "while scanning a quoted",
    "while scanning an a",  # alias or anchor
    "while scanning a simple key",
    "while scanning a directive",
)


def explain(error: Any, text: str, place: Callable[[int, int], Span]) -> Problem:
    """A YAML error as a finding."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = str(getattr(error, "problem", None) or error)
    if mark is None:
        return Problem("GR101", problem.splitlines()[0][:200], place(0, 0))
    lines = text.splitlines()
    context, start = (
        str(getattr(error, "context", None) or ""),
        getattr(error, "context_mark", None),
    )
    if (
        start is not None
        and context.startswith("while parsing a flow")
        and _resumed(lines, start, mark)
    ):
        bracket = _at(lines, start)
        what = f"this `{bracket}` is not closed" if bracket in "[{" else "a bracket is not closed"
        return Problem("GR101", what, place(start.line, start.column))
    if start is not None and context.startswith(_FROM_START):
        mark = start
    line, column = mark.line, mark.column
    if line >= len(lines) and lines:
        line, column = len(lines) - 1, len(lines[-1])
    return Problem("GR101", _words(problem, context, _at(lines, mark)), place(line, column))


def _at(lines: list[str], mark: Any) -> str:
    """The character at a mark, or a space behind the end."""
    line = lines[mark.line] if mark.line < len(lines) else ""
    return line[mark.column] if mark.column < len(line) else " "


def _resumed(lines: list[str], start: Any, mark: Any) -> bool:
    """Whether the text went on as if a bracket of `start`'s line had been closed."""
    if mark.line == start.line:
        return False
    if mark.line >= len(lines):
        return True
    return _indent(lines[mark.line]) <= _indent(lines[start.line])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _words(problem: str, context: str, character: str) -> str:
    if "found a tab" in problem:
        return "a tab where YAML wants spaces"
    if "cannot start any token" in problem:
        if character == "\t":
            return "a tab where YAML wants spaces"
        return f"a value can't start with `{character}`: quote it"
    if context.startswith("while scanning an a"):
        return f"quote a text that starts with `{character}`"
    if "mapping values are not allowed" in problem:
        return "a colon that is not expected here: quote the value, or check the line above"
    if "expected ':'" in problem:
        return "a key without a colon"
    if context.startswith("while scanning a quoted"):
        return "this quote is not closed"
    if context.startswith("while parsing a block mapping"):
        return "not a key of the map above: check the indentation, brackets and quotes"
    if context.startswith("while parsing a block collection"):
        return "not an element of the list above: check the indentation"
    if context.startswith("while parsing a flow"):
        return "expected a comma or a closing bracket before this"
    return problem[:200]
