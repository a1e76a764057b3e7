"""Protobuf text format -> messages with the place of everything, without protobuf and schemas.

What is read: fields (`a: 1`, `a { ... }`, `a: < ... >`), lists, strings in either quote with
escapes and side by side, comments, enum words, booleans, decimal, hexadecimal and octal numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from graphrec.ground.errors import Problem, RecipeError, Span

__all__ = ["Entry", "Message", "Value", "Word", "parse_textproto"]

_MAX_DEPTH = 64
_MAX_ENTRIES = 500_000
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f\v]+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<number>(?:0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?[fF]?)
          (?![A-Za-z0-9_.]))
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark>[-:{}<>\[\],;./])""",
    re.VERBOSE,
)
_CLOSING = {"{": "}", "<": ">"}
_ESCAPE = re.compile(
    r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))"
)
_SIMPLE = {"n": 10, "t": 9, "r": 13, "a": 7, "b": 8, "f": 12, "v": 11}
_SIMPLE |= {c: ord(c) for c in "\\'\"?"}


class Word(str):
    """An unquoted word: an enum value or a boolean."""

    __slots__ = ()


@dataclass(frozen=True)
class Entry:
    """One `name: value`; a list gives one entry for each element."""

    name: str
    value: Value
    span: Span


@dataclass(frozen=True)
class Message:
    """The entries between two braces, in the order written."""

    entries: tuple[Entry, ...]
    span: Span


Value = Message | Word | str | int | float


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse_textproto(text: str, file: str) -> Message:
    """The message that a text holds; raises RecipeError (GR130) with the place of a mistake.

    >>> [(e.name, e.value) for e in parse_textproto("a: 'x' 'y' b: [1, 2.5]", "f").entries]
    [('a', 'xy'), ('b', 1), ('b', 2.5)]
    """
    return _Parser(text, file).whole()


class _Parser:
    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self.line = 0
        self.tokens = self._tokens()
        self.count = 0
        self.next = next(self.tokens)

    # ---- tokens -------------------------------------------------------------------------------

    def _tokens(self) -> Iterator[_Token]:
        at = 0
        while at < len(self.text):
            match = _TOKEN.match(self.text, at)
            if match is None:
                self._unreadable(at)
            kind = str(match.lastgroup)
            if kind != "space":
                yield _Token(kind, match.group(), at)
            at = match.end()
        while True:
            yield _Token("end", "", len(self.text))

    def _unreadable(self, at: int) -> NoReturn:
        if self.text[at] in "\"'":
            self._fail("a text in quotes that does not end in its line", at)
        if self.text[at].isdigit():
            self._fail("a number that can't be read", at)
        self._fail(f"{self.text[at]!r} does not belong here", at)

    def _take(self) -> _Token:
        token, self.next = self.next, next(self.tokens)
        return token

    def _accept(self, *marks: str) -> str | None:
        if self.next.kind == "mark" and self.next.text in marks:
            return self._take().text
        return None

    # ---- grammar ------------------------------------------------------------------------------

    def whole(self) -> Message:
        return self._message("", 0, 0)

    def _message(self, closing: str, opened: int, depth: int) -> Message:
        if depth > _MAX_DEPTH:
            self._fail(f"messages nested deeper than {_MAX_DEPTH}", opened)
        entries: list[Entry] = []
        while True:
            if self.next.kind == "end":
                if closing:
                    help = f"its `{closing}` is missing at the end of the file"
                    self._fail("this message is not closed", opened, help=help)
                break
            if closing and self._accept(closing):
                break
            entries += self._field(depth)
            self._accept(",", ";")
        return Message(tuple(entries), self._span(opened, 1))

    def _field(self, depth: int) -> list[Entry]:
        name, span = self._name()
        colon = self._accept(":") is not None
        opened = self.next
        if self._accept("["):
            values = self._list(opened.at, depth)
        elif self._accept("{", "<"):
            values = [self._message(_CLOSING[opened.text], opened.at, depth + 1)]
        elif not colon:
            what = f"expected `:` or `{{` behind `{name}`, got {self._shown()}"
            self._fail(what, self.next.at, len(self.next.text))
        else:
            values = [self._scalar()]
        self.count += len(values) + 1
        if self.count > _MAX_ENTRIES:
            self._fail(f"more than {_MAX_ENTRIES:,} values", self.next.at)
        return [Entry(name, value, span) for value in values]

    def _name(self) -> tuple[str, Span]:
        if self.next.kind != "word" and not (self.next.kind == "mark" and self.next.text == "["):
            what = f"expected the name of a field, got {self._shown()}"
            self._fail(what, self.next.at, len(self.next.text))
        first = self._take()
        if first.text != "[":
            return first.text, self._span(first.at, len(first.text))
        parts = []
        while not self._accept("]"):  # an extension: [package.field]
            if self.next.kind == "end":
                self._fail("expected `]`", first.at)
            parts.append(self._take().text)
        name = f"[{''.join(parts)}]"
        return name, self._span(first.at, len(name))

    def _list(self, opened: int, depth: int) -> list[Value]:
        values: list[Value] = []
        while not self._accept("]"):
            if values and not self._accept(","):
                what = f"expected `,` or `]` in a list, got {self._shown()}"
                self._fail(what, self.next.at, len(self.next.text), "the list starts here", opened)
            inner = self.next
            if self._accept("{", "<"):
                values.append(self._message(_CLOSING[inner.text], inner.at, depth + 1))
            else:
                values.append(self._scalar())
        return values

    def _scalar(self) -> Value:
        token = self._take()
        if token.kind == "string":
            pieces = [self._unquoted(token)]
            while self.next.kind == "string":
                pieces.append(self._unquoted(self._take()))
            return b"".join(pieces).decode("utf-8", errors="replace")
        if token.kind == "number":
            return self._number(token)
        if token.kind == "word":
            return Word(token.text)
        if token.text == "-":
            value = self._take()
            if value.kind == "number":
                return -self._number(value)
            if value.text.lower() in ("inf", "infinity", "nan"):
                return Word(f"-{value.text}")
        return self._fail(
            f"expected a value, got {self._shown(token)}", token.at, len(token.text) or 1
        )

    def _number(self, token: _Token) -> int | float:
        text = token.text
        if len(text) > 60:
            self._fail("a number of too many digits", token.at, len(text))
        if text[:2] in ("0x", "0X"):
            return int(text, 16)
        if text.isdigit():
            octal = len(text) > 1 and text[0] == "0" and not set(text) & {"8", "9"}
            return int(text, 8 if octal else 10)
        return float(text.rstrip("fF"))

    def _unquoted(self, token: _Token) -> bytes:
        def byte(match: re.Match[str]) -> str:
            octal, hexadecimal, short, long, simple = match.groups()
            if simple is not None:
                if simple not in _SIMPLE:
                    self._fail(f"unknown escape `\\{simple}`", token.at, len(token.text))
                return chr(_SIMPLE[simple])
            code = int(octal, 8) & 255 if octal else int(hexadecimal or short or long, 16)
            if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                self._fail("an escape that is no character", token.at, len(token.text))
            # bytes above 127 stand for parts of UTF-8: keep them apart from characters
            return chr(code) if code < 128 or short or long else chr(0xDC00 + code)

        inner = token.text[1:-1]
        return _ESCAPE.sub(byte, inner).encode("utf-8", errors="surrogateescape")

    # ---- places -------------------------------------------------------------------------------

    def _span(self, at: int, width: int) -> Span:
        line = min(self.line, len(self.starts) - 1)
        while line > 0 and self.starts[line] > at:
            line -= 1
        while line + 1 < len(self.starts) and self.starts[line + 1] <= at:
            line += 1
        self.line = line
        column = at - self.starts[line] + 1
        return Span(self.file, line + 1, column, line + 1, column + max(width, 1))

    def _shown(self, token: _Token | None = None) -> str:
        shown = token or self.next
        return "the end of the file" if shown.kind == "end" else f"`{shown.text[:40]}`"

    def _fail(
        self, message: str, at: int, width: int = 1, help: str = "", also: int | None = None
    ) -> NoReturn:
        if also is not None:
            help = f"{help}: {self._span(also, 1)}"
        raise RecipeError(Problem("GR130", message, self._span(at, width), help=help))
