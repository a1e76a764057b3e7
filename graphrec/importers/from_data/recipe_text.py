"""Names and values as a recipe writes them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from graphrec.recipe.names import feature_name, node_name
from graphrec.recipe.scalars import Refused, resolve

__all__ = ["WIDTH", "aligned", "feature", "flow", "free", "node", "ranged", "remark", "scalar"]

WIDTH = 110


def feature(column: str) -> str:
    made = re.sub(r"[^A-Za-z0-9_]+", "_", column).strip("_")[:60] or "column"
    made = made if feature_name(made) is None else f"f_{made}"
    return column if feature_name(column) is None else made


def node(column: str, word: str) -> str:
    made = re.sub(r"[^a-z0-9_]+", "_", column.lower()).strip("_")[:60] or word
    return made if node_name(made) is None else f"{word}_{made}"


def free(name: str, taken: set[str]) -> str:
    made, number = name, 2
    while made in taken:
        made, number = f"{name}_{number}", number + 1
    taken.add(made)
    return made


def ranged(names: Sequence[str]) -> list[str]:
    """Names that count up as a range.

    >>> ranged(["C1", "C2", "C3", "x", "y1"])
    ['C1..C3', 'x', 'y1']
    """
    made: list[str] = []
    run: list[tuple[str, int]] = []
    for name in (*names, ""):
        found = re.fullmatch(r"(.*?)(0|[1-9][0-9]*)", name)
        here = (found[1], int(found[2])) if found else None
        if run and here != (run[-1][0], run[-1][1] + 1):
            texts = [f"{prefix}{number}" for prefix, number in run]
            made += [f"{texts[0]}..{texts[-1]}"] if len(texts) > 2 else texts
            run = []
        if here is not None:
            run.append(here)
        elif name:
            made.append(name)
    return made


def remark(text: str, indent: str = "") -> list[str]:
    printable = "".join(c if c.isprintable() else " " for c in text)
    lines = textwrap.wrap(printable, WIDTH - len(indent), break_on_hyphens=False)
    return [f"# {indent}{'  ' * (n > 0 and bool(indent))}{line}" for n, line in enumerate(lines)]


def aligned(entries: Iterable[tuple[str, str]]) -> list[str]:
    rows = list(entries)
    width = min(max((len(name) for name, _ in rows), default=0), 24)
    lines = []
    for name, value in rows:
        line = f"  {name}:{' ' * max(width - len(name), 0)} {value}"
        if len(line) <= WIDTH or '"' in value:  # a quoted text keeps its blanks
            lines.append(line)
        else:
            lines += textwrap.wrap(
                line, WIDTH, subsequent_indent=" " * 6, break_long_words=False,
                break_on_hyphens=False, drop_whitespace=True,
            )  # fmt: skip
    return lines


def flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value) if isinstance(value, str) else str(value)


def scalar(text: str) -> str:
    """The text as YAML reads it: bare where that is the same text, else in double quotes."""
    if re.fullmatch(r"[A-Za-z_.][A-Za-z0-9_./*()=-]*", text):
        try:
            if isinstance(resolve(text), str):
                return text
        except Refused:
            pass
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
    made = (short.get(c) or (c if c.isprintable() else f"\\U{ord(c):08x}") for c in text)
    return f'"{"".join(made)}"'
