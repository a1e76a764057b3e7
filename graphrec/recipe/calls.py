"""The small `name(arguments)` texts of the language: `hash(1_000)`, `gauc(user_id)`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from graphrec.recipe.scalars import resolve

__all__ = ["Call", "parse_call"]

_FORM = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:\((.*)\))?\s*", re.DOTALL)
_ARGUMENT = re.compile(
    r"""\s*(?:([A-Za-z_][A-Za-z0-9_]*)\s*=)?\s*("[^"]*"|'[^']*'|[^\s,()='"*]+)\s*(,|\Z)"""
)
_BARE = re.compile(r"[^\s,()='\"*]+")
_LIMIT = 5000


@dataclass(frozen=True)
class Call:
    """A name with arguments; `str()` gives the canonical text.

    >>> parse_call("fit( min_count = 5 )")
    Call(name='fit', args=(), kwargs={'min_count': 5})
    >>> str(parse_call("hash(1_000)"))
    'hash(1000)'
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.name == "file":
            return f"file({self.args[0] if self.args else ''})"
        shown = [_text(a) for a in self.args] + [f"{k}={_text(v)}" for k, v in self.kwargs.items()]
        return f"{self.name}({', '.join(shown)})" if shown else self.name

    def __hash__(self) -> int:
        return hash(str(self))


def parse_call(text: str) -> Call:
    """Read `name` or `name(1, column, key=value)`; numbers, true, false, words and quoted texts.

    What is inside `file(...)` is a path as it stands. Raises ValueError with what is wrong.
    """
    match = _FORM.fullmatch(text) if len(text) <= _LIMIT else None
    if match is None:
        raise ValueError(f"expected a name or name(arguments), got {text[:80]!r}")
    name, inside = str(match[1]), match[2]
    if inside is None or not inside.strip():
        return Call(name)
    if name == "file":
        return Call(name, (_path(inside),))
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    at, more = 0, ","
    while more:
        argument = _ARGUMENT.match(inside, at)
        if argument is None:
            raise ValueError(f"can't read the arguments of {text[:80]!r}")
        key, value, more = argument[1], _value(argument[2]), argument[3]
        if key is None and kwargs:
            raise ValueError(f"{text[:80]!r}: arguments without a name come first")
        if key in kwargs:
            raise ValueError(f"{text[:80]!r}: `{key}` is given twice")
        if key is None:
            args.append(value)
        else:
            kwargs[key] = value
        at = argument.end()
    return Call(name, tuple(args), kwargs)


def _path(inside: str) -> str:
    """`file(vocab/brands.txt)` is written without quotes; with quotes they are not part of it."""
    text = inside.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _value(text: str) -> Any:
    if text[0] in "'\"":
        return text[1:-1]
    value = resolve(text)
    return text if value is None else value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str) or (_BARE.fullmatch(value) and _value(value) == value):
        return str(value)
    return f"'{value}'" if '"' in value else f'"{value}"'
