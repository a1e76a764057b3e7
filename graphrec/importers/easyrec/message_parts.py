"""Messages made of messages: entries renamed, added and left out, each with its place."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from graphrec.ground.errors import Span
from graphrec.importers.tzrec.textproto import Entry, Message, Value

__all__ = ["entries", "message", "nested", "renamed", "rest", "text", "texts", "value"]


def entries(source: Message, name: str) -> list[Entry]:
    """The entries of one name."""
    return [entry for entry in source.entries if entry.name == name]


def value(source: Message, name: str) -> Value | None:
    """The last value given under a name."""
    given = entries(source, name)
    return given[-1].value if given else None


def nested(source: Message, name: str) -> Message | None:
    """The last message given under a name."""
    given = value(source, name)
    return given if isinstance(given, Message) else None


def text(source: Message, name: str, default: str = "") -> str:
    """The last text given under a name."""
    given = value(source, name)
    return str(given) if isinstance(given, str) else default


def texts(source: Message, name: str) -> list[str]:
    """Every text given under a name."""
    return [str(entry.value) for entry in entries(source, name) if isinstance(entry.value, str)]


def renamed(source: Message, names: Mapping[str, str]) -> list[Entry]:
    """All entries, those of other names under them."""
    return [Entry(names.get(e.name, e.name), e.value, e.span) for e in source.entries]


def rest(source: Message, known: Collection[str]) -> list[Entry]:
    """The entries of other names than the known ones."""
    return [entry for entry in source.entries if entry.name not in known]


def message(parts: Iterable[Entry], span: Span) -> Message:
    """A message of these entries."""
    return Message(tuple(parts), span)
