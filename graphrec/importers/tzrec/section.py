"""A message as its readers see it: typed access by name, and a record of what nobody asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from graphrec.ground.errors import Problem, RecipeError, Span
from graphrec.importers.tzrec.textproto import Entry, Message, Value, Word

__all__ = ["Notes", "Section"]

_TRUE, _FALSE = ("true", "True", "t"), ("false", "False", "f")

_WHY: Mapping[str, str] = {
    "asset_dir": "vocabularies are learnt from the data or named as file(path)",
    "embedding_constraints": "tables are placed without being told",
    "fg_mode": "columns are read as they are; transforms are said at the features",
    "fg_encoded": "columns are read as they are; transforms are said at the features",
    "fg_threads": "the number of readers is data.workers",
    "fg_value_type": "types are read from the data",
    "model_dir": "runs are written to runs/<name>; train.dir sets another folder",
    "use_tensorboard": "every run writes TensorBoard files",
    "sequence_pk": "histories are read from the rows",
}
"""Why a setting has no counterpart, where that helps."""


@dataclass
class Notes:
    """What an import has to tell: things without counterpart, or done otherwise, with places."""

    unread: dict[str, tuple[list[Span], str]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """Name -> text of the files that the recipe names, to lie beside it."""

    def add(self, span: Span, message: str, help: str = "") -> None:
        """A remark; the same remark at several places is told once."""
        self.unread.setdefault(message, ([], help))[0].append(span)

    def file(self, wish: str, lines: list[str]) -> str:
        """The name of a file of these lines: one of equal lines that there is, or a new one."""
        text = "\n".join(lines) + "\n"
        for name, known in self.files.items():
            if known == text:
                return name
        name, number = f"{wish}.vocab.txt", 2
        while name in self.files:
            name, number = f"{wish}_{number}.vocab.txt", number + 1
        self.files[name] = text
        return name

    def problems(self) -> tuple[Problem, ...]:
        """The remarks as warnings, in the order of the file."""
        problems = []
        for message, (spans, help) in self.unread.items():
            first, *rest = sorted(set(spans))
            also = f"also in {_lines(rest)}" if rest else ""
            text = "; ".join(part for part in (help, also) if part)
            problems.append(Problem("GR132", message, first, help=text, severity="warn"))
        return tuple(sorted(problems, key=lambda p: (p.span or Span(None, 0, 0), p.message)))

    def lines(self) -> list[str]:
        """The remarks for the head of the recipe, `line 12: ...`."""
        remarks = []
        for message, (spans, help) in self.unread.items():
            places = sorted({span.line for span in spans})
            tail = f" ({help})" if help else ""
            remarks.append((places, f"{_lines(sorted(set(spans)))}: {message}{tail}"))
        return [text for _, text in sorted(remarks)]


def _lines(spans: list[Span]) -> str:
    places = sorted({span.line for span in spans})
    shown = ", ".join(map(str, places[:6])) + (f", ... ({len(places)})" if len(places) > 6 else "")
    return f"{'line' if len(places) == 1 else 'lines'} {shown}"


class Section:
    """A message with typed access; what is read is remembered, `unread` tells the rest."""

    def __init__(self, message: Message, path: str, notes: Notes) -> None:
        self.message, self.path, self.notes = message, path, notes
        self._entries: dict[str, list[Entry]] = {}
        for entry in message.entries:
            self._entries.setdefault(entry.name, []).append(entry)
        self._read: set[str] = set()
        self._children: dict[int, Section] = {}

    @property
    def span(self) -> Span:
        """Where the message begins."""
        return self.message.span

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        """The fields that are given, in order."""
        return list(self._entries)

    def place(self, name: str) -> Span:
        """Where a field is given, else where the message begins."""
        return self._entries[name][-1].span if name in self._entries else self.span

    def remark(self, name: str, message: str, help: str = "") -> None:
        """Note something about a field, which then counts as read."""
        self._read.add(name)
        self.notes.add(self.place(name), message, help)

    def count(self, name: str) -> int:
        """How often a field is given."""
        return len(self._entries.get(name, ()))

    # ---- values -------------------------------------------------------------------------------

    def _all(self, name: str) -> list[Entry]:
        self._read.add(name)
        return self._entries.get(name, [])

    def _last(self, name: str) -> Entry | None:
        entries = self._all(name)
        return entries[-1] if entries else None

    def _wrong(self, entry: Entry, wanted: str) -> RecipeError:
        shown = "a message" if isinstance(entry.value, Message) else repr(entry.value)[:60]
        what = f"{self._dotted(entry.name)}: expected {wanted}, got {shown}"
        return RecipeError(Problem("GR131", what, entry.span))

    def _dotted(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def text(self, name: str, default: str = "") -> str:
        """A text or word."""
        entry = self._last(name)
        if entry is None:
            return default
        if isinstance(entry.value, str):
            return str(entry.value)
        raise self._wrong(entry, "a text")

    def texts(self, name: str) -> list[str]:
        """Every text given under a name."""
        entries = self._all(name)
        for entry in entries:
            if not isinstance(entry.value, str):
                raise self._wrong(entry, "a text")
        return [str(entry.value) for entry in entries]

    def integer(self, name: str, default: int | None = None) -> int | None:
        """A whole number."""
        entry = self._last(name)
        return default if entry is None else self._integer(entry)

    def integers(self, name: str) -> list[int]:
        """Every whole number given under a name."""
        return [self._integer(entry) for entry in self._all(name)]

    def _integer(self, entry: Entry) -> int:
        if isinstance(entry.value, int):
            return entry.value
        raise self._wrong(entry, "a whole number")

    def number(self, name: str, default: float = 0.0) -> float:
        """A number."""
        entry = self._last(name)
        return default if entry is None else self._number(entry)

    def numbers(self, name: str) -> list[float]:
        """Every number given under a name."""
        return [self._number(entry) for entry in self._all(name)]

    def _number(self, entry: Entry) -> float:
        if isinstance(entry.value, int | float):
            return entry.value
        raise self._wrong(entry, "a finite number")

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean."""
        entry = self._last(name)
        if entry is None:
            return default
        value = entry.value
        if isinstance(value, int) and value in (0, 1):
            return value == 1
        if isinstance(value, Word) and value in _TRUE + _FALSE:
            return value in _TRUE
        raise self._wrong(entry, "true or false")

    # ---- messages -----------------------------------------------------------------------------

    def section(self, name: str) -> Section | None:
        """The message of that name, or None; given more than once, they are one."""
        if len(self._entries.get(name, ())) < 2:
            return next(iter(self.sections(name)), None)
        messages = [self._message(entry) for entry in self._all(name)]
        merged = tuple(entry for message in messages for entry in message.entries)
        return self._child(id(self._entries[name]), Message(merged, messages[0].span), name)

    def sections(self, name: str) -> list[Section]:
        """Every message given under a name."""
        return [self._child(id(entry), self._message(entry), name) for entry in self._all(name)]

    def _message(self, entry: Entry) -> Message:
        if isinstance(entry.value, Message):
            return entry.value
        raise self._wrong(entry, f"a message: {entry.name} {{ ... }}")

    def _child(self, key: int, message: Message, name: str) -> Section:
        if key not in self._children:
            self._children[key] = Section(message, self._dotted(name), self.notes)
        return self._children[key]

    def ignore(self, *names: str) -> None:
        """Fields that change nothing here."""
        self._read.update(names)

    def report_unread(self) -> None:
        """Note every field that nobody has asked for, at any depth."""
        for name, entries in self._entries.items():
            if name not in self._read:
                for entry in entries:
                    why = _WHY.get(name, "")
                    self.notes.add(entry.span, _said(self._dotted(name), entry.value), why)
        for child in self._children.values():
            child.report_unread()


def _said(path: str, value: Value) -> str:
    if isinstance(value, Message):
        inner = ", ".join(_plain(value)) if value.entries else ""
        return f"{path} {{{inner[:80]}}} has no counterpart"
    shown = str(value) if isinstance(value, Word | int | float) else f'"{value}"'
    return f"{path}: {shown[:80]} has no counterpart"


def _plain(message: Message) -> Iterator[str]:
    for entry in message.entries:
        value = "{...}" if isinstance(entry.value, Message) else str(entry.value)
        yield f"{entry.name}: {value}"
