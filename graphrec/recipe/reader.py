"""YAML text -> Tree: YAML 1.2 core values with the place of every key and value, within limits.

libyaml's *events* are read and composed here step by step: its own composer recurses (100,000
nested brackets end the process), knows YAML 1.1 values, and expands aliases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from graphrec.ground.errors import Problem, Span
from graphrec.recipe import syntax
from graphrec.recipe.recovery import Patched
from graphrec.recipe.scalars import Refused, resolve
from graphrec.recipe.tree import INVALID, Tree

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "decode", "read_value", "read_yaml"]

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_NODES = 100_000
_MAX_PROBLEMS = 100

# What libyaml refuses, and byte-order marks, which it accepts anywhere.
_UNREADABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Stop(Exception):
    """Enough has been found to give up on the text."""


@dataclass(slots=True)
class _Open:
    """A map or list that is being read."""

    tree: Tree
    flow: bool
    key: str | None = None
    key_span: Span | None = None
    skip: bool = False
    cut: bool = False
    seen: dict[str, Span] = field(default_factory=dict)


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
        at = _Reader(file, line).place(len(before) - 1, len(before[-1]))
        mark = bad.group() == "\ufeff"
        what = "a byte-order mark" if mark else f"the character U+{ord(bad.group()):04X}"
        where = " inside the text" if mark else ", which YAML does not allow"
        return None, [Problem("GR107", f"{what}{where}", at)]
    if len(text) > MAX_BYTES:
        limit = f"a recipe has at most {MAX_BYTES:,} bytes"
        return None, [Problem("GR106", limit, _Reader(file, line).place(0, 0))]
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


def _compose(text: str, file: str | None, line: int) -> tuple[_Reader, Problem | None]:
    """One reading of a text: its values and findings, and the error that ended it early."""
    reader = _Reader(file, line)
    try:
        if len(text) > MAX_NODES:  # a value takes two characters or more
            reader.weigh(yaml.parse(text, Loader=_LOADER))
        reader.read(yaml.parse(text, Loader=_LOADER))
    except _Stop:
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


class _Reader:
    """Composes the events of one text; keeps what is wrong in `problems`."""

    def __init__(self, file: str | None, line: int) -> None:
        self.file = file
        self.line = line
        self.root: Tree | None = None
        self.problems: list[Problem] = []
        self.stack: list[_Open] = []
        self.broken_by: Problem | None = None

    def place(self, line: int, column: int, end_line: int = -1, end_column: int = 0) -> Span:
        """The span at 0-based marks; for an override its number and columns of the value."""
        number = self.line if self.file is None else line + 1
        if end_line < 0:
            return Span(self.file, number, column + 1)
        end = self.line if self.file is None else end_line + 1
        return Span(self.file, number, column + 1, end, end_column + 1)

    def span(self, event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        return self.place(start.line, start.column, end.line, end.column)

    def report(self, code: str, message: str, span: Span, help: str = "") -> None:
        self.problems.append(Problem(code, message, span, help=help))
        if len(self.problems) >= _MAX_PROBLEMS:
            raise _Stop

    def read(self, events: Iterable[Any]) -> None:
        """Compose every event into `root`."""
        scalar, alias = yaml.ScalarEvent, yaml.AliasEvent
        starts = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
        for event in events:
            kind = type(event)
            if kind is scalar:
                self.scalar(event)
            elif kind in starts:
                self.open(event, kind is yaml.MappingStartEvent)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self.close(event)
            elif kind is alias:
                self.alias(event)
            elif kind is yaml.DocumentStartEvent and self.root is not None:
                help = "keep one recipe in a file; `extends` joins several"
                self.report("GR108", "a second YAML document begins here", self.span(event), help)
                raise _Stop

    def weigh(self, events: Iterable[Any]) -> None:
        """Refuse too many or too deep values, before time goes into composing them."""
        counted = (yaml.ScalarEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent)
        ends = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
        nodes = depth = 0
        for event in events:
            kind = type(event)
            nodes += kind in counted
            depth += (kind in counted[1:]) - (kind in ends)
            if nodes > MAX_NODES:
                self.report("GR106", f"more than {MAX_NODES:,} values", self.span(event))
                raise _Stop
            if depth > MAX_DEPTH:
                return  # composing reports it at once

    # ---- nodes ----------------------------------------------------------------------------

    def scalar(self, event: Any) -> None:
        span = self.span(event)
        refused = self.marked(event, span)
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.tree.value, dict) and top.key_span is None:
            self.key(top, event.value, span, plain=event.style is None or event.style == "")
            return
        if event.style:
            self.done(Tree(INVALID if refused else event.value, span, span, quoted=True))
            return
        value: Any = INVALID
        try:
            value = INVALID if refused else resolve(event.value)
        except Refused as error:
            self.report("GR109", str(error), span)
        self.done(Tree(value, span, span))

    def marked(self, event: Any, span: Span) -> bool:
        """Report an anchor or a tag; a tagged value can't be used."""
        if event.anchor is not None:
            help = "`extends`, `defaults` and `blocks` are the ways to say something once"
            self.report("GR104", f"anchor `&{event.anchor[:40]}`", span, help)
        if event.tag is None:
            return False
        name = event.tag.replace("tag:yaml.org,2002:", "!!")
        help = "put quotes around a value that shall be text" if name == "!!str" else "leave it out"
        self.report("GR103", f"tag `{name[:40]}`", span, help)
        return True

    def alias(self, event: Any) -> None:
        span = self.span(event)
        top = self.stack[-1] if self.stack else None
        if top is None or not top.skip:
            help = (
                "to repeat a value use `extends`, `defaults` or `blocks`; quote a text with a star"
            )
            self.report("GR104", f"alias `*{event.anchor[:40]}`", span, help)
        if top is not None and isinstance(top.tree.value, dict) and top.key_span is None:
            top.key, top.key_span, top.skip = None, span, True
            return
        self.done(Tree(INVALID, span, span))

    def open(self, event: Any, is_map: bool) -> None:
        start = event.start_mark
        span = self.place(start.line, start.column)
        if len(self.stack) >= MAX_DEPTH:
            self.report("GR106", f"nested more than {MAX_DEPTH} deep", span)
            raise _Stop
        self.marked(event, span)
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.tree.value, dict) and top.key_span is None:
            what = "a key is a text, not a list or a map"
            self.broken_by = Problem("GR110", what, span, help=_BRACES)
            raise _Stop
        self.stack.append(_Open(Tree({} if is_map else [], span, span), bool(event.flow_style)))

    def close(self, event: Any) -> None:
        frame = self.stack.pop()
        if frame.flow:
            at, end = frame.tree.span, event.end_mark
            frame.tree.span = self.place(at.line - 1, at.column - 1, end.line, end.column)
        self.done(frame.tree)

    def key(self, top: _Open, text: str, span: Span, plain: bool) -> None:
        top.key, top.key_span, top.skip = text, span, False
        if plain and text == "<<":
            help = "`extends` joins recipes, `defaults` fills in features, `blocks` name parts"
            self.report("GR105", "merge key `<<`", span, help)
            top.skip = True
        elif plain and text in ("", "~", "null"):
            self.report("GR110", "a key is missing before this colon", span)
            top.skip = True
        elif text in top.seen:
            first = top.seen[text]
            where = f"line {first.line}" if first.file else "the same override"
            self.report("GR102", f"`{text[:60]}` is written twice, first in {where}", span)
            top.skip = True
        else:
            top.seen[text] = span

    def done(self, tree: Tree) -> None:
        """Put a finished value where it belongs."""
        if not self.stack:
            self.root = tree
            return
        top = self.stack[-1]
        if isinstance(top.tree.value, list):
            if not self.is_cut(top, tree.value, tree):
                top.tree.value.append(tree)
            return
        name, key_span, skip = top.key, top.key_span, top.skip
        top.key, top.key_span, top.skip = None, None, False
        if skip or name is None or key_span is None:
            return
        tree.key = key_span
        if not self.is_cut(top, name if top.cut else tree.value, tree):
            top.tree.value[name] = tree

    def is_cut(self, top: _Open, text: Any, tree: Tree) -> bool:
        """Whether this is a later piece of `hash(20, seed=1)`, cut at its comma."""
        if not top.flow or not isinstance(text, str) or tree.quoted:
            return False
        if top.cut:
            top.cut = text.count(")") <= text.count("(")
            return True
        if text.count("(") > text.count(")"):
            top.cut = True
            what = f"`{text[:60]}` has no closing parenthesis"
            help = f"quote a value that has commas:  '{text[:60]}, ...)'"
            self.report("GR111", what, tree.span, help)
            tree.value = INVALID
        return False


_BRACES = "quote a text that starts with a brace or bracket"
