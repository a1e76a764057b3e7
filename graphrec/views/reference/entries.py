"""Entries of the reference: keys, functions and blocks as Markdown, and as text for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import indent

from graphrec.blocks.library import BUILTIN
from graphrec.recipe.expression_shapes import FUNCTIONS
from graphrec.recipe.model import NODE_WORDS
from graphrec.views.reference.examples import key_example
from graphrec.views.reference.settings import Setting, settings

__all__ = ["as_text", "function_entry", "key_entries", "key_entry", "word_entry", "words"]

_FENCE = re.compile(r"^```\w*\n(.*?)^```\n", re.MULTILINE | re.DOTALL)

_STOP = "detach"
_OTHER_NAMES = {"stop": _STOP, "**": "power"}


def key_entry(setting: Setting) -> str:
    """A key: its type and default, what it means, how it is written."""
    example = key_example(setting.path)
    fence = f"\n```yaml\n{example}\n```\n" if example else ""
    return f"### `{setting.path}`\n\n{setting.facts}\n\n{setting.doc}\n{fence}"


def function_entry(name: str) -> str:
    """A function of expressions: how it is called, and what it gives."""
    function = FUNCTIONS[name]
    return f"### `{name}`\n\n`{function.usage}`\n\n{function.doc}\n"


def key_entries(path: str) -> list[Setting]:
    """The key of a path and those below it; a last word alone (`carry`) finds every key of it."""
    every = settings()
    inside = [s for s in every if s.path == path or s.path.startswith(f"{path}.")]
    return inside or [s for s in every if s.path.endswith(f".{path}")]


def words() -> Iterator[str]:
    """What `word_entry` knows besides paths: modifiers and functions."""
    yield from NODE_WORDS
    yield from FUNCTIONS
    yield from _OTHER_NAMES


def word_entry(word: str) -> str | None:
    """A modifier of nodes, a function, a block or any key as Markdown; None for an unknown word."""
    if word in NODE_WORDS:
        return key_entry(next(s for s in settings() if s.path == f"graph.{word}"))
    function = _OTHER_NAMES.get(word, word)
    if function in FUNCTIONS:
        return function_entry(function)
    if word in BUILTIN:
        from graphrec.views.catalog import about_block

        return about_block(BUILTIN, word).as_text()
    keys = key_entries(word)
    return "\n".join(map(key_entry, keys)) if keys else None


def as_text(markdown: str) -> str:
    """Markdown for a terminal: headings plain, fences as indented lines.

    >>> print(as_text("### `a`\\n\\n```yaml\\nb: 1\\n```\\n"), end="")
    a
    <BLANKLINE>
        b: 1
    """
    text = _FENCE.sub(lambda fence: indent(fence[1], "    "), markdown)
    return re.sub(r"^#+ `?(.*?)`?$", r"\1", text, flags=re.MULTILINE)
