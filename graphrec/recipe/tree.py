"""Values with their places: what the reader makes, and what merging and expansion rewrite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from graphrec.ground.errors import Span

__all__ = ["INVALID", "Invalid", "Tree", "known", "shown", "spans"]


class Invalid:
    """A value that could not be read and is already reported; what holds it stays silent."""

    def __repr__(self) -> str:
        return "(unreadable)"


INVALID: Final = Invalid()


@dataclass(slots=True)
class Tree:
    """A scalar, a `dict[str, Tree]` or a `list[Tree]`, with the span of the value and of its key.

    Elements of a list, and the whole, have no key of their own: `key` is then the value's span.
    `quoted` marks a scalar in quotes, `filled` a default that nobody wrote: it has no place.
    """

    value: Any
    span: Span
    key: Span
    quoted: bool = False
    filled: bool = False

    def holding(self, value: Any) -> Tree:
        """Another value in the same place."""
        return replace(self, value=value, quoted=False)

    def under(self, key: Span) -> Tree:
        """The same value under another key."""
        return replace(self, key=key)

    def at(self, name: str) -> Tree | None:
        """The entry of that name, if this is a map that has it."""
        entry = self.value.get(name) if isinstance(self.value, dict) else None
        return entry if isinstance(entry, Tree) else None

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {name: child.plain() for name, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def ordered(self) -> Tree:
        """The same values with every map in the order of its keys: no meaning by position."""
        if isinstance(self.value, dict):
            return replace(self, value={k: self.value[k].ordered() for k in sorted(self.value)})
        if isinstance(self.value, list):
            return replace(self, value=[child.ordered() for child in self.value])
        return self

    def children(self) -> Iterator[tuple[str, Tree]]:
        """Every (key or index, child) of a map or list."""
        if isinstance(self.value, dict):
            yield from self.value.items()
        elif isinstance(self.value, list):
            yield from ((str(i), child) for i, child in enumerate(self.value))

    def is_whole(self) -> bool:
        """Whether everything inside could be read."""
        return self.value is not INVALID and all(child.is_whole() for _, child in self.children())

    def within(self, start: int, width: int) -> Span:
        """The span of `width` characters at `start` of a text written on one line."""
        return _part(self.span, start + self.quoted, width)


def known(span: Span, start: int, width: int) -> Span:
    """The span of `width` characters at `start` of a key."""
    return _part(span, start, width)


def _part(span: Span, start: int, width: int) -> Span:
    if span.file is None or span.end_line != span.line:
        return span
    column = span.column + start
    return Span(span.file, span.line, column, span.line, column + width)


def spans(tree: Tree) -> tuple[Mapping[str, Span], Mapping[str, Span]]:
    """Spans of all keys and of all values, by dotted path."""
    keys, values = {"": tree.key}, {"": tree.span}
    waiting = [("", tree)]
    while waiting:
        path, node = waiting.pop()
        for name, child in node.children():
            if child.filled:
                continue
            inner = f"{path}.{name}" if path else name
            keys[inner], values[inner] = child.key, child.span
            if isinstance(child.value, dict | list):
                waiting.append((inner, child))
    return keys, values


def shown(value: Any) -> str:
    """What was written, for a message: text `abc`, -1, a list, a map."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = value if len(value) <= 60 else value[:57] + "..."
        return f"text `{text}`" if text.isprintable() else f"text {text!r}"
    return str(value) if isinstance(value, int | float) else type(value).__name__
