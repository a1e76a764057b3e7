"""Reading on behind a syntax error: the entry it stands in is left out, the rest is still told.

Entries are told apart by their indentation alone, since that is all there is before YAML is read:
a line of a section (`  deep: {...}`) with the deeper lines below it, or a whole section.

Kept, though a parser could stop at its first error: who mends a recipe, by hand or by program,
mends what it is told, and one missing bracket would hide every other finding for a round. The
patched text is for messages alone and never compiled.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from graphrec.ground.errors import Span
from graphrec.recipe.tree import INVALID, Tree

__all__ = ["Lost", "Patched"]

MOST = 8
"""Entries left out before the text is given up."""
LARGEST = 200_000
"""Characters of a text that is worth reading again and again."""

_KEY = re.compile(
    r"""\s*(?:-\s+)?(?:"([^"]*)"|'([^']*)'|([^\s:{}\[\],"'#&*!|>%@`-][^:{}\[\],#]*?))\s*(?::|$)"""
)


_WORD = re.compile(r"[a-z]+\+?\s*")


@dataclass(frozen=True)
class Lost:
    """Lines `first` to `last` (0-based) that were left out: a section, or entries of one."""

    first: int
    last: int
    section: str
    names: tuple[str, ...] = ()


class Patched:
    """A text whose broken entries are blanked out, so that every other line keeps its number."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self.lost: list[Lost] = []
        self._repairs = 0
        self._touched: set[int] = set()
        self.hopeless = len(text) > LARGEST

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def leave_out(self, line: int) -> bool | None:
        """Blank out what holds this 0-based line; False if the error is one told already.

        None when there is nothing more to leave out.
        """
        if self.hopeless or len(self.lost) >= MOST or not self.lines:
            return None
        line = min(line, len(self.lines) - 1)
        first, last = self._section(line)
        if self._repaired(line, first, last):
            return True
        near = [lost for lost in self.lost if first <= lost.first <= last]
        if (
            near or line in self._touched
        ):  # what is left of the section makes no sense without the entry
            self._blank(first, last, first)
            return False
        while line > first and not self.lines[line].strip():
            line -= 1
        start, end, depth = self._entry(line, first, last)
        inner = self.lines[start : end + 1] if start > first else []
        # a line that is indented a little too far is an entry too
        names = [_name(text) for text in inner if _indent(text) <= depth + 1]
        self._blank(start, end, first, tuple(name for name in names if name))
        return True

    def _repaired(self, line: int, first: int, last: int) -> bool:
        """Put right what can only be meant in one way: a colon, a tab, one space too many."""
        self._repairs += 1
        text = self.lines[line]
        if self._repairs > MOST or line in self._touched:
            return False
        if _WORD.fullmatch(self.lines[first]) and first not in self._touched:
            self._touched.add(first)
            self.lines[first] = f"{self.lines[first].rstrip()}:"
            return True
        lead = text[: _indent(text)]
        depth = self._depth(first, last)
        slip = "\t" in lead or abs(len(lead) - depth) == 1
        if line == first or not slip or not _name(text):
            return False
        self._touched.add(line)
        self.lines[line] = " " * depth + text.lstrip()
        return True

    def _depth(self, first: int, last: int) -> int:
        """The indentation of a section's entries: that of most of its shallow lines."""
        depths = [
            _indent(t)
            for t in self.lines[first + 1 : last + 1]
            if t.strip()[:1] not in ("", "#") and "\t" not in t[: _indent(t)]
        ]
        shallow = [depth for depth in depths if depth <= min(depths) + 1]
        return max(set(shallow), key=lambda d: (shallow.count(d), -d)) if shallow else 2

    def _section(self, line: int) -> tuple[int, int]:
        first = line
        while first > 0 and not self._is_top(first):
            first -= 1
        last = line
        while last + 1 < len(self.lines) and not self._is_top(last + 1):
            last += 1
        return first, last

    def _is_top(self, line: int) -> bool:
        text = self.lines[line]
        return bool(text) and not text[0].isspace() and text[0] not in "#}])-:?"

    def _entry(self, line: int, first: int, last: int) -> tuple[int, int, int]:
        """First and last line of the entry at `line`, and the indentation of entries here."""
        depth = self._depth(first, last)
        if line == first:
            return first, last, depth
        start = line
        while start > first + 1 and _indent(self.lines[start]) > depth:
            start -= 1
        end = line
        while end < last and (
            not self.lines[end + 1].strip() or _indent(self.lines[end + 1]) > depth
        ):
            end += 1
        return start, end, depth

    def _blank(self, start: int, end: int, section: int, names: tuple[str, ...] = ()) -> None:
        self.lost.append(Lost(start, end, _name(self.lines[section]), names))
        self.lines[start : end + 1] = [""] * (end + 1 - start)

    def restore(self, root: Tree, place: Callable[[int, int], Span]) -> None:
        """Put an unreadable value where each entry was, so that nobody misses it."""
        for lost in self.lost:
            span = place(lost.first, 0)
            whole = Span(span.file, span.line, 1, lost.last + 1, 2)
            gone = Tree(INVALID, whole, span)
            section = root.at(lost.section)
            if section is None or section.value is None or section.value is INVALID:
                root.value[lost.section] = gone
            elif isinstance(section.value, list):
                section.value.append(gone)
            elif isinstance(section.value, dict) and lost.names:
                for name in lost.names:
                    section.value.setdefault(name, gone)
            else:
                root.value[lost.section] = gone


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _name(line: str) -> str:
    """The key a line begins with, empty if it has none."""
    match = _KEY.match(line)
    return "" if match is None else next((group for group in match.groups() if group), "").strip()
