"""How generated code is laid out: calls and literals, broken into lines as `ruff format` does."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["WIDTH", "Call", "Chain", "Exploded", "Raw", "Writer", "docstring", "literal", "quoted"]

WIDTH = 88
"""The line length of ruff and black where nobody asked for another."""


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


@dataclass(frozen=True)
class Chain:
    """Operands with operators of one rank between them: `a - b + c`."""

    operands: Sequence[Any]
    operators: Sequence[str] = ()


class Exploded(list[Any]):
    """A list that always stands one item a line: declarations read better so."""


def quoted(text: str) -> str:
    """A string literal, in double quotes unless that needs more escapes."""
    escaped = repr(text)
    if escaped.startswith("'") and '"' not in text:
        return '"' + escaped[1:-1].replace("\\'", "'") + '"'
    return escaped


def literal(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Call):
        return f"{value.function}({', '.join(_arguments(value))})"
    if isinstance(value, Chain):
        return " ".join(_linked(value))
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


def _linked(chain: Chain) -> list[str]:
    """Every operand behind its operator."""
    rest = zip(chain.operators, chain.operands[1:], strict=True)
    return [literal(chain.operands[0]), *(f"{link} {literal(value)}" for link, value in rest)]


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
        """`target = value  # comment`, on one line if that fits.

        The comment stands at the end of the statement, which is where ruff leaves it.
        """
        head = f"{target} = " if target else ""
        note = f"  # {comment}" if comment else ""
        flat = head + literal(value)
        if indent + len(flat + note) <= WIDTH and not isinstance(value, Exploded):
            self.line(flat + note, indent, owner)
            return
        if isinstance(value, Raw) and indent + len(flat) <= WIDTH:
            self.line(flat, indent, owner)  # a name for a name: it goes without saying
            return
        if ", " in target and indent + len(head + _opening(value)) > WIDTH:
            head = self._targets(head, indent, owner)
            if indent + len(head + literal(value) + note) <= WIDTH:
                self.line(head + literal(value) + note, indent, owner)
                return
        self._broken(head, value, indent, owner, note)

    def fits(self, target: str, value: Any, indent: int, comment: str) -> bool:
        """Whether `assign` breaks the value at brackets only: it knows no way to break a sum."""
        note = f"  # {comment}" if comment else ""
        return _breaks_well(f"{target} = ", value, indent, note)

    def _broken(self, head: str, value: Any, indent: int, owner: str, tail: str) -> None:
        """`head value tail` over several lines: the last bracket first, then one item a line."""
        if isinstance(value, Chain):
            self._broken_chain(head, value, indent, owner, tail)
            return
        opening, items, closing = _parts(value)
        if not items:
            self.line(head + literal(value) + tail, indent, owner)
            return
        inside = ", ".join(prefix + literal(item) for prefix, item in items)
        self.line(head + opening, indent, owner)
        if isinstance(value, Call) and indent + 4 + len(inside) <= WIDTH:
            self.line(inside, indent + 4, owner)
        else:
            for prefix, item in items:
                self._item(prefix, item, indent + 4, owner)
        self.line(closing + tail, indent, owner)

    def _item(self, prefix: str, item: Any, indent: int, owner: str) -> None:
        """One argument or element, and a comma."""
        flat = prefix + literal(item)
        if isinstance(item, Chain) and indent + len(flat) + 1 > WIDTH:
            *lines, last = _linked(item)
            for text in [*lines, f"{last},"]:
                self.line(text, indent, owner)
        elif indent + len(flat) + 1 <= WIDTH or not _parts(item)[1]:
            self.line(flat + ",", indent, owner)
        else:
            self._broken(prefix, item, indent, owner, ",")

    def _broken_chain(self, head: str, chain: Chain, indent: int, owner: str, tail: str) -> None:
        """In brackets, on one line or one operand a line: operands are names here, see `fits`."""
        self.line(f"{head}(", indent, owner)
        if indent + 4 + len(literal(chain)) <= WIDTH:
            self.line(literal(chain), indent + 4, owner)
        else:
            for text in _linked(chain):
                self.line(text, indent + 4, owner)
        self.line(")" + tail, indent, owner)

    def _targets(self, head: str, indent: int, owner: str) -> str:
        """Many targets of one assignment, one a line; returns what stands before the value."""
        self.line("(", indent, owner)
        for name in head.removesuffix(" = ").split(", "):
            self.line(f"{name},", indent + 4, owner)
        return ") = "

    def text(self) -> str:
        """The file."""
        return "\n".join(self.lines) + "\n"


def _breaks_well(head: str, value: Any, indent: int, tail: str) -> bool:
    if indent + len(head + literal(value) + tail) <= WIDTH:
        return True
    if isinstance(value, Chain):
        atoms = all(isinstance(operand, Raw) for operand in value.operands)
        return tail == "," and atoms and all(len(t) + indent < WIDTH for t in _linked(value))
    items = _parts(value)[1]
    if not items:
        return False
    inside = ", ".join(prefix + literal(item) for prefix, item in items)
    if indent + 4 + len(inside) <= WIDTH:
        return True
    return all(_breaks_well("", item, indent + 4, ",") for _, item in items)


def _opening(value: Any) -> str:
    """What has to stand on the first line."""
    return "(" if isinstance(value, Chain) else _parts(value)[0] or literal(value)


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
    lines: list[str] = []
    for i, paragraph in enumerate(paragraphs):
        clean = "".join(c if c.isprintable() else " " for c in paragraph)
        clean = clean.replace("\\", "/").replace('"', "'").strip()
        if i:
            lines.append("")
        lines.extend(textwrap.wrap(clean, WIDTH - indent - (3 if i == 0 else 0)) or [""])
    lines[0] = '"""' + lines[0]
    if len(lines) == 1 and len(lines[0]) + 3 + indent <= WIDTH:
        return [lines[0] + '"""']
    return [*lines, '"""']
