"""What building shares: the recipe, the library, and the findings collected on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphrec.blocks.library import Library
from graphrec.graph import Ref
from graphrec.ground.errors import Problem, Span
from graphrec.recipe.model import Recipe

__all__ = ["Bundle", "Context", "Failed", "GroupValue", "Place", "Poison", "Value"]


class Failed(Exception):
    """This part can't be built; its problem is already reported, what reads it stays silent."""


@dataclass(frozen=True)
class Bundle:
    """Several named outputs: of one node, or of the copies that `each` and `parallel` make.

    A member is None when its node failed: whoever reads it stays silent.
    """

    items: Mapping[str, Value | None]


@dataclass(frozen=True)
class GroupValue:
    """A feature group, paired group or sequence; its ports are resolved where they are read."""

    name: str


@dataclass(frozen=True)
class Poison:
    """The one output of a node that failed: its shape is not known, but that it has no keys."""


Value = Ref | Bundle | GroupValue | Poison


@dataclass(frozen=True)
class Place:
    """Where a node comes from: its path in the recipe, its node there, the copies being made.

    Inside a composite `inside` is the node's name there, and `given` are the paths of the values
    that its parameters were given as `$name`.
    """

    path: str
    origin: str
    keys: tuple[str, ...] = ()
    role: Any = "block"
    inside: str = ""
    given: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Context:
    """Findings and lookups of one build."""

    recipe: Recipe
    library: Library
    broken: frozenset[str] = frozenset()
    problems: list[Problem] = field(default_factory=list)
    _lines: dict[str, list[str]] = field(default_factory=dict)

    def key(self, path: str) -> Span | None:
        """Where the key at `path` was written."""
        return self.recipe.origin.key(path) if self.recipe.origin else None

    def value(self, path: str) -> Span | None:
        """Where the value at `path` was written."""
        return self.recipe.origin.value(path) if self.recipe.origin else None

    def report(
        self, code: str, path: str, message: str, help: str = "", span: Span | None = None
    ) -> None:
        """Keep an error; placed at the value of `path` unless a span is given."""
        self.problems.append(Problem(code, message, span or self.value(path), path, help))

    def fail(
        self, code: str, path: str, message: str, help: str = "", span: Span | None = None
    ) -> Failed:
        """Report an error and give the exception to raise."""
        self.report(code, path, message, help, span)
        return Failed()

    def within(self, path: str, column: int, width: int) -> Span | None:
        """The span of `width` characters at 0-based `column` of the text written at `path`."""
        span = self.value(path)
        if span is None or span.file is None:
            return span
        start = span.column + column + self._quoted(span)
        return Span(span.file, span.line, start, span.line, start + max(1, width))

    def _quoted(self, span: Span) -> int:
        file = span.file or ""
        if file not in self._lines:
            origin = self.recipe.origin
            self._lines[file] = origin.sources.get(file, "").splitlines() if origin else []
        lines = self._lines[file]
        line = lines[span.line - 1] if span.line <= len(lines) else ""
        return int(line[span.column - 1 : span.column] in ("'", '"'))

    def line(self, path: str) -> str:
        """`line 12`, for messages that name several places."""
        span = self.key(path)
        if span is None:
            return "no line"
        return f"line {span.line}" if span.file is not None else str(span)
