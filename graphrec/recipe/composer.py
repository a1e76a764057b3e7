"""The events of a YAML text -> a Tree, one after another, with what is wrong in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from graphrec.ground.errors import Problem, Span
from graphrec.recipe.scalars import Refused, resolve
from graphrec.recipe.tree import INVALID, Tree

__all__ = ["Composer", "MAX_DEPTH", "MAX_NODES", "Stop"]

MAX_DEPTH = 64


MAX_NODES = 100_000


_MAX_PROBLEMS = 100


class Stop(Exception):
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


class Composer:
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
            raise Stop

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
                raise Stop

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
                raise Stop
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
            raise Stop
        self.marked(event, span)
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.tree.value, dict) and top.key_span is None:
            what = "a key is a text, not a list or a map"
            self.broken_by = Problem("GR110", what, span, help=_BRACES)
            raise Stop
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
