"""YAML text -> Tree: YAML 1.2 core values with the place of every key and value, within limits.

libyaml's *events* are read and composed here step by step: its own composer recurses (100,000
nested brackets end the process), knows YAML 1.1 values, and expands aliases.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from graphrec.ground.errors import Problem, Span
from graphrec.recipe import syntax
from graphrec.recipe.composer import MAX_DEPTH, MAX_NODES, Composer, Stop
from graphrec.recipe.recovery import Patched
from graphrec.recipe.tree import INVALID, Tree

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "decode", "read_value", "read_yaml"]

MAX_BYTES = 1 << 20

# What libyaml refuses, and byte-order marks, which it accepts anywhere.
_UNREADABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(text: str, file: str | None) -> tuple[Tree | None, list[Problem]]:
    """The map a recipe file holds (None if it holds none), and everything wrong with it."""
    tree, problems = read_value(text, file)
    if tree is None:
        if not problems:
            problems = [Problem("GR108", "the file is empty", Span(file, 1, 1), help=_MAP)]
        return None, problems
    if not isinstance(tree.value, dict):
        if tree.value is INVALID:
            return None, problems
        kind = "a list" if isinstance(tree.value, list) else "a single value"
        what = f"expected a map at the top, got {kind}" if tree.value is not None else "no content"
        return None, [*problems, Problem("GR108", what, tree.span, help=_MAP)]
    return tree, problems


_MAP = "a recipe starts with:  graphrec: 1"


def read_value(text: str, file: str | None, line: int = 0) -> tuple[Tree | None, list[Problem]]:
    """Any YAML value; `file` None is the value of override number `line`."""
    bad = _UNREADABLE.search(text)
    if bad is not None:
        before = text[: bad.start()].splitlines() or [""]
        at = Composer(file, line).place(len(before) - 1, len(before[-1]))
        mark = bad.group() == "\ufeff"
        what = "a byte-order mark" if mark else f"the character U+{ord(bad.group()):04X}"
        where = " inside the text" if mark else ", which YAML does not allow"
        return None, [Problem("GR107", f"{what}{where}", at)]
    if len(text) > MAX_BYTES:
        limit = f"a recipe has at most {MAX_BYTES:,} bytes"
        return None, [Problem("GR106", limit, Composer(file, line).place(0, 0))]
    if file is None:
        reader, error = _compose(text, file, line)
        return (None if error else reader.root), [*reader.problems, *([error] if error else [])]
    return _recovered(text, file)


def _recovered(text: str, file: str) -> tuple[Tree | None, list[Problem]]:
    """The value without the entries that have syntax errors, and all errors."""
    patched, errors = Patched(text), list[Problem]()
    while True:
        reader, error = _compose(patched.text, file, 0)
        if error is None or error.span is None:
            break
        new = patched.leave_out(error.span.line - 1)
        if new is not False:
            errors.append(error)
        if new is None:
            return None, [*errors, *reader.problems]
    if patched.lost:
        if reader.root is None:
            return None, errors
        if not isinstance(reader.root.value, dict):
            return None, [*errors, *reader.problems]
        patched.restore(reader.root, reader.place)
    return reader.root, [*errors, *reader.problems]


def _compose(text: str, file: str | None, line: int) -> tuple[Composer, Problem | None]:
    """One reading of a text: its values and findings, and the error that ended it early."""
    reader = Composer(file, line)
    try:
        if len(text) > MAX_NODES:  # a value takes two characters or more
            reader.weigh(yaml.parse(text, Loader=_LOADER))
        reader.read(yaml.parse(text, Loader=_LOADER))
    except Stop:
        return reader, reader.broken_by
    except yaml.YAMLError as error:
        return reader, syntax.explain(error, text, reader.place)
    return reader, None


def decode(data: bytes, file: str) -> tuple[str, list[Problem]]:
    """The text of a file, without a byte-order mark at its start."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff"), []
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace").splitlines() or [""]
        if data[: error.start].endswith((b"\n", b"\r")):
            before.append("")
        at = Span(file, len(before), len(before[-1]) + 1)
        what = f"byte 0x{data[error.start]:02x} is not UTF-8 text"
        return "", [Problem("GR107", what, at, help="save the file as UTF-8")]
