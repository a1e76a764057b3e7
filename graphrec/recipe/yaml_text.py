"""Plain values -> YAML as a person would write a recipe: flow style, in as few lines as fit.

The one writer of recipes: what `expand` prints, a run keeps, and importers propose. What it writes
is read back by `recipe.reader` as the same values.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from graphrec.recipe.scalars import Refused, resolve

__all__ = ["WIDTH", "Written", "aligned", "flow", "remark", "scalar", "wrapped"]

WIDTH = 100
"""Characters of a line, where a value can be cut."""
_COLUMN = 24
"""Names up to this length are aligned; a longer one moves its own value only."""

_PLAIN = re.compile(r"[A-Za-z_./$][A-Za-z0-9_./ ()*+<>=@%-]*(?<! )")
# Alone on its line a text may hold what closes a list or a map inside of one.
_ALONE = re.compile(r"[A-Za-z_./$][A-Za-z0-9_./ ()*+<>=@%,\[\]-]*(?<! )")
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


class Written(str):
    """A text that is YAML already, in flow style."""


def scalar(value: Any, *, alone: bool = False) -> str:
    """A value that is no list and no map; a text so that it is read as the same text.

    `alone`: nothing follows in its line, no list or map is around it.

    >>> scalar(1e-4), scalar(None), scalar("tower"), scalar("007"), scalar("max(a, b)", alone=True)
    ('0.0001', 'null', 'tower', '"007"', 'max(a, b)')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if isinstance(value, Written) or _is_plain(text, _ALONE if alone else _PLAIN):
        return text
    return (
        '"' + "".join(_SHORT.get(c) or (c if c.isprintable() else _escape(c)) for c in text) + '"'
    )


def _is_plain(text: str, pattern: re.Pattern[str]) -> bool:
    """Whether YAML reads the bare text as that text, and the language as nothing else."""
    try:
        same = pattern.fullmatch(text) is not None and resolve(text) == text
    except Refused:
        return False
    return same and not text.startswith("$env")


def _escape(character: str) -> str:
    number = ord(character)
    for digits, letter in ((2, "x"), (4, "u"), (8, "U")):
        if number < 16**digits:
            return f"\\{letter}{number:0{digits}x}"
    raise AssertionError(f"no character has the number {number}")


def flow(value: Any) -> str:
    """The value on one line.

    >>> flow({"block": "mlp", "hidden": [64, 32], "bias": None})
    '{block: mlp, hidden: [64, 32], bias: null}'
    """
    return "".join(_pieces(value))


def wrapped(head: str, value: Any) -> list[str]:
    """The value behind its head, over several lines if it is long."""
    plain = not isinstance(value, Mapping | list | tuple | Written)
    pieces = [scalar(value, alone=True)] if plain else _pieces(value)
    lines, line = [], head
    indent = " " * (len(head) - len(head.lstrip()) + 4)
    for piece in pieces:
        if len(line) + len(piece.rstrip()) > WIDTH and line.strip() not in ("", head.strip()):
            lines.append(line.rstrip())
            line = indent
        line += piece
    return [*lines, line.rstrip()]


def aligned(entries: Mapping[str, Any]) -> list[str]:
    """The entries of a section, their values under each other."""
    width = max((len(name) for name in entries if len(name) <= _COLUMN), default=0)
    lines: list[str] = []
    for name, value in entries.items():
        lines += wrapped(f"  {name}:{' ' * max(width - len(name), 0)} ", value)
    return lines


def remark(text: str, indent: str = "") -> list[str]:
    """The text as comment lines; those of an indented one hang by two more blanks."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    lines = textwrap.wrap(printable, WIDTH - 4 - len(indent), break_on_hyphens=False)
    return [f"# {indent}{'  ' * (n > 0 and bool(indent))}{line}" for n, line in enumerate(lines)]


def _pieces(value: Any) -> list[str]:
    """The text of a value, cut where a line may end."""
    if isinstance(value, Mapping):
        return _bracketed("{", "}", (_keyed(str(key), inner) for key, inner in value.items()))
    if isinstance(value, list | tuple):
        return _bracketed("[", "]", (_pieces(item) for item in value))
    text = scalar(value)
    # Behind a comma a line may end; not inside of quotes.
    return re.split(r"(?<=, )", text) if isinstance(value, Written) and '"' not in text else [text]


def _keyed(key: str, value: Any) -> list[str]:
    first, *rest = _pieces(value)
    return [f"{scalar(key)}: {first}", *rest]


def _bracketed(opening: str, closing: str, items: Iterable[list[str]]) -> list[str]:
    pieces: list[str] = []
    for item in items:
        if pieces:
            pieces[-1] += ", "
        pieces += item
    if not pieces:
        return [opening + closing]
    pieces[0] = opening + pieces[0]
    pieces[-1] += closing
    return pieces
