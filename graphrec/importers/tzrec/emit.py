"""Plain values -> the text of a recipe, as a person would write it."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from graphrec.importers.tzrec.convert import Converted
from graphrec.importers.tzrec.merge_families import families, usual_dim
from graphrec.recipe.scalars import Refused, resolve

__all__ = ["recipe_text"]

_WIDTH = 120
_COLUMN = 20
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.*/+()=-]*(?: [A-Za-z0-9_.*/+()=>-]+)*")


def recipe_text(made: Converted, source: str, remarks: list[str], schema: str) -> str:
    """The recipe, with the editor's line first and every remark as a comment."""
    lines = [f"# yaml-language-server: $schema={schema}"]
    lines += _comment(f"Imported from {source} (TorchEasyRec).", "")
    if remarks:
        lines.append("# Without counterpart here, or done otherwise (lines of that file):")
        for remark in remarks:
            lines += _comment(remark, "  ")
    lines += ["graphrec: 1", f"name: {made['name']}"]
    if made["data"]:
        lines += _entry("data", made["data"])
    dim = usual_dim(made.features)
    if dim is not None:
        lines.append(f"defaults: {{feature: {{dim: {dim}}}}}")
    lines.append("features:")
    for family in [*families(made.features, dim), *made.sequences]:
        lines += _wrapped("  - ", family)
    for section in ("groups", "graph", "tasks"):
        if made[section]:
            lines.append(f"{section}:")
            lines += _aligned(made[section])
    if made["relations"]:
        lines.append("relations:")
        for relation in made["relations"]:
            lines += _relation(relation)
    for section in ("kernels", "train"):
        if made[section]:
            lines += _entry(section, made[section])
    return "\n".join(lines) + "\n"


def _comment(text: str, indent: str) -> list[str]:
    printable = "".join(c if c.isprintable() else " " for c in text)
    wrapped = textwrap.wrap(printable, _WIDTH - 4 - len(indent), break_on_hyphens=False)
    return [f"# {indent}{'' if i == 0 else '  '}{line}" for i, line in enumerate(wrapped)]


def _entry(name: str, value: Any) -> list[str]:
    return _wrapped(f"{name}: ", value)


def _aligned(entries: dict[str, Any]) -> list[str]:
    width = max((len(name) for name in entries if len(name) <= _COLUMN), default=0)
    lines: list[str] = []
    for name, value in entries.items():
        space = " " * (width - len(name))
        lines += _wrapped(f"  {name}:{space} ", value)
    return lines


def _relation(relation: Any) -> list[str]:
    if isinstance(relation, str):
        return [f"  - {relation}"]
    [(edge, settings)] = relation.items()
    return _wrapped(f"  - {edge}: ", settings)


# ---- flow style -------------------------------------------------------------------------------


def _wrapped(head: str, value: Any) -> list[str]:
    """A value in flow style behind its head, over several lines if it is long."""
    pieces = _pieces(value, False)
    lines, line = [], head
    indent = " " * (len(head) - len(head.lstrip()) + 4)
    for piece in pieces:
        if len(line) + len(piece.rstrip()) > _WIDTH and line.strip() not in ("", head.strip()):
            lines.append(line.rstrip())
            line = indent
        line += piece
    return [*lines, line.rstrip()]


def _pieces(value: Any, inside: bool = True) -> list[str]:
    """The text of a value, cut where a line may end."""
    if isinstance(value, dict):
        return _bracketed("{", "}", [_keyed(k, v) for k, v in value.items()])
    if isinstance(value, list):
        return _bracketed("[", "]", [_pieces(item) for item in value])
    return [_scalar(value, inside)]


def _keyed(key: str, value: Any) -> list[str]:
    first, *rest = _pieces(value)
    return [f"{_scalar(key, True)}: {first}", *rest]


def _bracketed(opening: str, closing: str, items: list[list[str]]) -> list[str]:
    if not items:
        return [opening + closing]
    pieces = [piece for number, item in enumerate(items) for piece in _joined(item, number, items)]
    pieces[0] = opening + pieces[0]
    pieces[-1] += closing
    return pieces


def _joined(item: list[str], number: int, items: list[list[str]]) -> list[str]:
    return item if number == len(items) - 1 else [*item[:-1], f"{item[-1]}, "]


def _scalar(value: Any, inside: bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    text = str(value)
    return text if _is_plain(text, inside) else _quoted(text)


def _quoted(text: str) -> str:
    """In double quotes, as YAML reads them."""
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
    return f'"{"".join(short.get(c) or (c if c.isprintable() else _escaped(c)) for c in text)}"'


def _escaped(mark: str) -> str:
    return f"\\x{ord(mark):02x}" if ord(mark) < 256 else f"\\U{ord(mark):08x}"


def _is_plain(text: str, inside: bool) -> bool:
    """Whether YAML reads the bare text as that text."""
    expression = not inside and re.fullmatch(r"[A-Za-z0-9_.+*/()\[\], -]+", text)
    if not (_PLAIN.fullmatch(text) or expression) or not text[0].isalpha():
        return False
    try:
        return isinstance(resolve(text), str)
    except Refused:
        return False
