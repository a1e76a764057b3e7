"""What can go wrong, and how it is told.

    GraphrecError
    ├── RecipeError       the recipe, an override or a plugin's block can't be compiled   exit 2
    ├── DataError         rows, columns or files that training or evaluation can't use    exit 3
    ├── EnvironmentFault  something of the machine is missing (a package, a device)        exit 4
    └── CheckpointError   a run folder or checkpoint is damaged or does not fit            exit 5

Every error carries `Problem`s: a stable code, a place, what was written and what to write instead.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = [
    "CheckpointError",
    "DataError",
    "EnvironmentFault",
    "GraphrecError",
    "Interrupted",
    "Problem",
    "RecipeError",
    "Span",
    "machine_fault",
    "nearest",
    "printable",
    "render",
    "suggestion",
]


@dataclass(frozen=True, order=True)
class Span:
    """Where something was said: a file (or an override) with 1-based line and column.

    `file` is `None` for an override; `line` is then its number on the command line (-o #1).
    """

    file: str | None
    line: int
    column: int
    end_line: int = 0
    end_column: int = 0

    def __str__(self) -> str:
        if self.file is None:
            return f"-o #{self.line}"
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """One finding: `code` (GR101...), `message`, where (`span`, `path`), `help`, a severity."""

    code: str
    message: str
    span: Span | None = None
    path: str = ""
    help: str = ""
    severity: str = "error"

    def at(self, span: Span | None) -> Problem:
        """The same finding, placed at `span` unless it already has a place."""
        return self if self.span is not None else replace(self, span=span)

    def as_json(self) -> dict[str, object]:
        span = self.span
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "help": self.help,
            "path": self.path,
            "file": span.file if span else None,
            "line": span.line if span else None,
            "column": span.column if span else None,
            "end_line": (span.end_line or span.line) if span else None,
            "end_column": (span.end_column or span.column) if span else None,
        }


class GraphrecError(ValueError):
    """Base of everything graphrec raises for a user's mistake; `problems` holds all findings."""

    exit_status = 70

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        findings = [problems] if isinstance(problems, Problem) else list(problems)
        self.problems: tuple[Problem, ...] = tuple(sorted(findings, key=_position))
        super().__init__(
            "\n".join(f"{p.code} {p.span or p.path}: {p.message}" for p in self.problems)
        )


class RecipeError(GraphrecError):
    """The recipe, an override or a block in use can't be compiled."""

    exit_status = 2


class DataError(GraphrecError):
    """Rows, columns or files that can't be trained on or evaluated."""

    exit_status = 3


class EnvironmentFault(GraphrecError):
    """Something of the machine is missing: a package, a device, memory."""

    exit_status = 4


class CheckpointError(GraphrecError):
    """A run folder or checkpoint is damaged, missing, or does not fit the model."""

    exit_status = 5


class Interrupted(SystemExit):
    """The end of a run after a signal, when its checkpoint is on the disk."""


def machine_fault(error: BaseException, more: str = "") -> EnvironmentFault | None:
    """What the machine refused, told as such: a file, the disk, memory, threads; else None.

    `more` is said behind the help. The system's errors carry no name of a file where a write fails
    (a full disk), and libraries say in words of their own that there is no memory.
    """
    if isinstance(error, GraphrecError):
        return None
    text = " ".join(str(error).split())[:300]
    if isinstance(error, OSError):
        what = f"{error.filename}: " if error.filename is not None else "a file: "
        help = "check the path, its rights and the disk"
        if error.filename is None:
            help = "free some space, or check the disk"
        return EnvironmentFault(Problem("GR002", what + (error.strerror or text), help=help + more))
    kind, lower = type(error).__name__, text.lower()
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError" or _STARVED.search(lower):
        help = "a smaller train.batch, data.shuffle or table (vocab: hash(N)) needs less"
        message = f"memory ran out: {text}" if text else "memory ran out"
        return EnvironmentFault(Problem("GR005", message, help=help + more))
    return None


# torch, numpy and the C++ library raise RuntimeError for want of memory and say so in words alone:
# there is no class to ask for. The only place where a text decides a code.
_STARVED = re.compile(
    r"can't allocate memory|cannot allocate memory|not enough memory|out of memory|std::bad_alloc"
    r"|can't start new thread"
)


def printable(text: str) -> str:
    r"""The text with control characters escaped: names and values of files are data, not commands.

    >>> printable("\x1b[31mred\u202e")
    '\\x1b[31mred\\u202e'
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )


def _position(problem: Problem) -> tuple[str, int, int, str]:
    span = problem.span
    return (
        (span.file or "", span.line, span.column, problem.code)
        if span
        else ("", 0, 0, problem.code)
    )


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name most like `word`, or None when nothing is close.

    >>> nearest("expert", ["experts", "mask"])
    'experts'
    """
    wanted = word.lower()
    ranked = sorted(
        (_edits(wanted, name.lower()), -_likeness(wanted, name), name) for name in known
    )
    if ranked and ranked[0][0] <= max(1, len(word) // 3):
        return ranked[0][2]
    close = min(ranked, key=lambda r: r[1], default=None)
    return close[2] if close and -close[1] >= 0.6 else None


def _likeness(word: str, name: str) -> float:
    return difflib.SequenceMatcher(None, word, name.lower()).ratio()


def _edits(a: str, b: str) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours between two words."""
    if abs(len(a) - len(b)) > 4 or len(a) > 80:
        return max(len(a), len(b))
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        following = [i + 1]
        for j, y in enumerate(b):
            cost = min(row[j + 1] + 1, following[j] + 1, row[j] + (x != y))
            if i and j and x == b[j - 1] and a[i - 1] == y:
                cost = min(cost, before[j - 1] + 1)
            following.append(cost)
        before, row = row, following
    return row[-1]


def suggestion(word: str, known: Iterable[str], limit: int = 12) -> str:
    """The help text for an unknown name: the nearest one, and what is known here."""
    names = list(known)
    near = nearest(word, names)
    shown = ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
    parts = [f"did you mean `{near}`?"] if near else []
    if names:
        parts.append(f"known here: {shown}")
    return "   ".join(parts)


def render(
    problems: Sequence[Problem], sources: dict[str, str] | None = None, *, color: bool = False
) -> str:
    """The findings as text with the offending lines under carets, one block a finding."""
    cache: dict[str, list[str]] = {
        name: text.splitlines() for name, text in (sources or {}).items()
    }
    return "\n".join(_block(problem, cache, color) for problem in sorted(problems, key=_position))


def _block(problem: Problem, cache: dict[str, list[str]], color: bool) -> str:
    paint = {"error": "\033[1;31m", "warn": "\033[1;33m"}.get(problem.severity, "") if color else ""
    reset = "\033[0m" if paint else ""
    place = f"{problem.span}   " if problem.span else ""
    if problem.message.startswith("-o "):
        place = ""  # the override is quoted in full
    path = (
        f"{problem.path}: " if problem.path and not problem.message.startswith(problem.path) else ""
    )
    message = printable(f"{place}{path}{problem.message}")
    lines = [f"{paint}{problem.severity} {problem.code}{reset}  {message}"]
    text = _line(problem.span, cache)
    help_text = printable(problem.help)
    if text is not None and problem.span is not None:
        number = f"{problem.span.line:>5} | "
        lines.append(f"{number}{text}")
        end = (
            problem.span.end_column
            if problem.span.end_line in (0, problem.span.line)
            else len(text) + 1
        )
        width = max(1, min(end or problem.span.column + 1, len(text) + 1) - problem.span.column)
        caret = " " * (len(number) - 2) + "| " + " " * (problem.span.column - 1) + "^" * width
        first, _, rest = help_text.partition("\n")
        lines.append(f"{caret} {first}".rstrip())
        help_text = rest
    lines.extend(f"     {line}" for line in help_text.splitlines())
    return "\n".join(lines)


def _line(span: Span | None, cache: dict[str, list[str]]) -> str | None:
    if span is None or span.file is None:
        return None
    if span.file not in cache:
        try:
            cache[span.file] = (
                Path(span.file).read_text(encoding="utf-8", errors="replace").splitlines()
            )
        except OSError:
            cache[span.file] = []
    lines = cache[span.file]
    line = lines[span.line - 1][:400] if 0 < span.line <= len(lines) else None
    # one sign for one, so that carets stand below what they mean
    return line and "".join(c if c.isprintable() or c == "\t" else "?" for c in line)
