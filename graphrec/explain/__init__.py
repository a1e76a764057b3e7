"""`graphrec explain CODE`: what a diagnostic means, with a failing example and its cure.

The pages are Markdown beside this file, one file for each family of codes. In an example the fence
says `wrong` or `right`; examples are what a recipe says on top of `EXAMPLE_BASE`, and a test checks
that the wrong ones give their code and the right ones nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import resources

from graphrec.recipe.codes import CODES

__all__ = ["EXAMPLE_BASE", "examples", "page", "titles"]

EXAMPLE_BASE = """\
graphrec: 1
features:
  - {type: id, names: {user_id: 100, item_id: 50}, dim: 8}
  - {type: dense, names: price}
  - {type: sequence, name: clicked, of: [item_id], max_len: 20}
graph:
  deep: {block: mlp, in: all, hidden: [16]}
  history: {block: pooling, in: clicked}
  final: {block: mlp, in: [deep, history], hidden: [8]}
tasks:
  click: {label: click, in: final}
"""
"""What the examples extend."""

_FENCE = re.compile(r"^```\w* ?(\w*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def titles() -> Mapping[str, str]:
    """Every code with its title."""
    return CODES


def page(code: str) -> str:
    """The page of a code, as plain text."""
    text = _FENCE.sub(_indented, _body(code)).strip()
    return f"{code}: {CODES[code]}\n\n{text}\n"


def examples(code: str) -> Iterator[tuple[str, str]]:
    """(`wrong`, `right` or ``, text) of every example of a page."""
    for match in _FENCE.finditer(_body(code)):
        yield match[1], match[2]


def _indented(match: re.Match[str]) -> str:
    head = f"{match[1]}:\n" if match[1] else ""
    return head + "".join(f"    {line}".rstrip() + "\n" for line in match[2].splitlines())


def _body(code: str) -> str:
    file = resources.files(__package__).joinpath(f"{code[:3].lower()}.md")
    found = re.search(rf"^## {code}\n(.*?)(?=^## |\Z)", file.read_text("utf-8"), re.M | re.S)
    return found[1] if found else ""
