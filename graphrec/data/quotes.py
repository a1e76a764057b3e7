"""Quotes that open a CSV cell and never meant to: found while the bytes go by.

A cell may begin with a quote and hold line breaks. A quote that is a character of the text (5")
does the same to a parser: it swallows the lines behind it, in silence. The bytes tell them apart:
lines that each have as many separators as the first one are rows, and no parts of one cell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["StrayQuote", "WatchedBytes"]

_LONGEST_LINE = 64 << 20  # bytes
_PIECE = 1 << 20
_ENOUGH = 64  # lines of one cell after which like lines are a verdict, without its end


@dataclass(frozen=True)
class StrayQuote:
    """A quote that opens a cell in `row` (1-based, without the header) on `line` of the file."""

    row: int
    line: int
    swallowed: int
    closed: bool


class WatchedBytes:
    """Looks at the bytes of `source` (anything with `read(size)`; None: there is none to look at).

    `stray` is the first stray quote so far. Lines with an even number of quotes, all of most
    files, are only counted.
    """

    def __init__(self, source: Any, sep: str, header: bool) -> None:
        self.stray: StrayQuote | None = None
        self._source = source
        self._sep, self._header = sep.encode(), header
        # A cell that opens with a quote and does not close in its line.
        self._opening = re.compile(rb'(?:^|%s)"(?:[^"]|"")*$' % re.escape(self._sep))
        self._rest = b""
        self._wanted: int | None = None  # separators of a row
        self._line = self._inside = 0  # lines so far, and how many of them no row begins with
        self._open: _Cell | None = None
        self._blind = False

    def look(self, size: int | None = None) -> None:
        """Look at the next `size` bytes, or at all of the rest."""
        left = size
        while self._source is not None and self.stray is None and not self._blind:
            if left is not None and left <= 0:
                return
            data = self._source.read(_PIECE if left is None else min(left, _PIECE))
            if not data:
                self._source = None
                self._end()
                return
            left = None if left is None else left - len(data)
            self._look(data)

    def _look(self, data: bytes) -> None:
        whole = self._rest + data
        end = whole.rfind(b"\n") + 1
        if not end:
            self._rest = whole
            self._blind = b"\r" in whole or len(whole) > _LONGEST_LINE
            return
        self._rest = whole[end:]
        if self._wanted is None:
            self._wanted = whole[: whole.find(b"\n")].count(self._sep)
        if self._open is None and b'"' not in whole:
            self._line += whole.count(b"\n")
        else:
            self._lines(whole[:end])

    def _lines(self, whole: bytes) -> None:
        """Whole lines: those with an odd number of quotes, and what stands between them."""
        marks = np.frombuffer(whole, np.uint8)
        ends = np.flatnonzero(marks == ord("\n"))
        begins = np.append(0, ends[:-1] + 1)
        odd = np.flatnonzero(np.bitwise_xor.reduceat((marks == ord('"')).view(np.uint8), begins))
        first, place = self._line, 0
        while self.stray is None and place < len(ends):
            if self._open is None:
                following = int(np.searchsorted(odd, place))
                if following == len(odd):
                    break
                place = int(odd[following])
            line = whole[int(begins[place]) : int(ends[place])].rstrip(b"\r")
            self._one(line, first + place)
            place += 1
        self._line = first + len(ends)

    def _one(self, line: bytes, number: int) -> None:
        """A line that may open a cell, or stands in an open one."""
        if self._open is None:
            if self._opening.search(line):
                self._open = _Cell(number, number - self._inside)
                self._open.add(line.count(self._sep) == self._wanted)
            return
        self._inside += 1
        self._open.add(line.count(self._sep) == self._wanted)
        if line.count(b'"') % 2:
            self._verdict(closed=True)
        elif self._open.lines == _ENOUGH and self._open.like > 0.9 * _ENOUGH and self._wanted:
            self._verdict(closed=False)

    def _end(self) -> None:
        """The file is over: so is its last line, and any cell that is still open."""
        last, self._rest = self._rest.rstrip(b"\r"), b""
        if last and self._wanted is not None:
            self._one(last, self._line)
        if self._open is not None:
            self._verdict(closed=False)

    def _verdict(self, *, closed: bool) -> None:
        cell, self._open = self._open, None
        assert cell is not None
        # Two lines of a table of two columns may look like rows by chance.
        few = cell.lines < (2 if (self._wanted or 0) > 1 else 3)
        if closed and (not self._wanted or few or cell.like < cell.lines):
            return
        row = cell.row + (0 if self._header else 1)
        self.stray = StrayQuote(row, cell.line + 1, cell.lines - 1, closed)


@dataclass
class _Cell:
    """An open cell: where it began, its lines, and how many of them look like rows."""

    line: int
    row: int
    lines: int = 0
    like: int = 0

    def add(self, like: bool) -> None:
        self.lines += 1
        self.like += like
