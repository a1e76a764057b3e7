"""How generated code is laid out: calls and literals, broken into lines as ruff and black would."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["WIDTH", "Call", "Exploded", "Raw", "Writer", "docstring", "literal", "quoted"]

WIDTH = 88
"""Both ruff's default and the project's longer lines leave text of this width alone."""


@dataclass(frozen=True)
class Raw:
    """Code that stands as it is, such as a name."""

    text: str


@dataclass(frozen=True)
class Call:
    """A call with positional and named arguments; values are literals, `Raw` or calls."""

    function: str
    args: Sequence[Any] = ()
    named: Mapping[str, Any] = field(default_factory=dict)


class Exploded(list[Any]):
    """A list that always stands one item a line: declarations read better so."""


def quoted(text: str) -> str:
    """A string literal, in double quotes unless that needs more escapes."""
    made = repr(text)
    if made.startswith("'") and '"' not in text:
        return '"' + made[1:-1].replace("\\'", "'") + '"'
    return made


def literal(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Call):
        return f"{value.function}({', '.join(_arguments(value))})"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return f"{value:_}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, tuple):
        inside = ", ".join(literal(v) for v in value)
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, list):
        return "[" + ", ".join(literal(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
    raise TypeError(f"layer arguments are plain values, got {type(value).__name__}")


def _arguments(call: Call) -> list[str]:
    return [literal(a) for a in call.args] + [f"{k}={literal(v)}" for k, v in call.named.items()]


class Writer:
    """Lines of code, and for each the node it belongs to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.owner: dict[int, str] = {}

    def line(self, text: str = "", indent: int = 0, owner: str = "") -> None:
        """Append one line."""
        self.lines.append((" " * indent + text).rstrip())
        if owner:
            self.owner[len(self.lines)] = owner

    def lines_of(self, texts: Iterable[str], indent: int = 0) -> None:
        """Append several lines."""
        for text in texts:
            self.line(text, indent)

    def assign(
        self, target: str, value: Any, indent: int, comment: str = "", owner: str = ""
    ) -> None:
        """`target = value  # comment`, on one line if it fits, else one item a line."""
        head = f"{target} = " if target else ""
        note = f"  # {comment}" if comment else ""
        flat = head + literal(value)
        if isinstance(value, Exploded):
            self._broken(head, value, indent, note, owner, "")
        elif indent + len(flat) + len(note) <= WIDTH:
            self.line(flat + note, indent, owner)
        elif indent + len(flat) <= WIDTH:
            self.line(f"# {comment}", indent, owner)
            self.line(flat, indent, owner)
        else:
            self._broken(head, value, indent, note, owner, "")

    def _broken(self, head: str, value: Any, indent: int, note: str, owner: str, tail: str) -> None:
        opening, items, closing = _parts(value)
        if note and indent + len(head + opening + note) > WIDTH:
            self.line(note.strip(), indent, owner)
            note = ""
        if indent + len(head + opening) > WIDTH and ", " in head:
            head = self._targets(head, indent, owner)
            if indent + len(head + literal(value) + tail) <= WIDTH:
                items = []
        if not items:
            self.line(head + literal(value) + tail + note, indent, owner)
            return
        self.line(head + opening + note, indent, owner)
        for prefix, item in items:
            flat = prefix + literal(item)
            if indent + 4 + len(flat) + 1 <= WIDTH or not _parts(item)[1]:
                self.line(flat + ",", indent + 4, owner)
            else:
                self._broken(prefix, item, indent + 4, "", owner, ",")
        self.line(closing + tail, indent, owner)

    def _targets(self, head: str, indent: int, owner: str) -> str:
        """Many targets of one assignment, one a line; returns what stands before the value."""
        self.line("(", indent, owner)
        for name in head.removesuffix(" = ").split(", "):
            self.line(f"{name},", indent + 4, owner)
        return ") = "

    def text(self) -> str:
        """The file."""
        return "\n".join(self.lines) + "\n"


def _parts(value: Any) -> tuple[str, list[tuple[str, Any]], str]:
    """Opening, (prefix, item) pairs and closing of a value that can be broken into lines."""
    if isinstance(value, Call):
        items = [("", a) for a in value.args] + [(f"{k}=", v) for k, v in value.named.items()]
        return f"{value.function}(", items, ")"
    if isinstance(value, tuple):
        return "(", [("", v) for v in value], ")"
    if isinstance(value, list):
        return "[", [("", v) for v in value], "]"
    if isinstance(value, Mapping):
        return "{", [(f"{literal(k)}: ", v) for k, v in value.items()], "}"
    return "", [], ""


def docstring(paragraphs: Sequence[str], indent: int = 0) -> list[str]:
    """Lines of a docstring; any text is made harmless (no escapes, no quotes that could end it)."""
    made: list[str] = []
    for i, paragraph in enumerate(paragraphs):
        clean = "".join(c if c.isprintable() else " " for c in paragraph)
        clean = clean.replace("\\", "/").replace('"', "'").strip()
        if i:
            made.append("")
        made.extend(textwrap.wrap(clean, WIDTH - indent - (3 if i == 0 else 0)) or [""])
    made[0] = '"""' + made[0]
    if len(made) == 1 and len(made[0]) + 3 + indent <= WIDTH:
        return [made[0] + '"""']
    return [*made, '"""']
