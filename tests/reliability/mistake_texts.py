"""A recipe as text with the place of everything in it, and edits that know where they broke it.

Places come from PyYAML's own composer, not from graphrec's reader: what is measured has no part in
saying where the mistake is.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Edit", "Mistake", "Recipe", "Spot", "corpus", "typo"]


@dataclass(frozen=True)
class Spot:
    """One key or element: its path, the node of its key (None in a list) and of its value."""

    file: str
    path: tuple[str | int, ...]
    key: yaml.Node | None
    node: yaml.Node

    @property
    def value(self) -> Any:
        return yaml.safe_load(yaml.serialize(self.node))

    @property
    def text(self) -> str:
        return str(self.node.value)

    @property
    def is_flow(self) -> bool:
        return bool(getattr(self.node, "flow_style", False))


@dataclass(frozen=True)
class Edit:
    """Characters `start` to `end` of a file become `text`."""

    file: str
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Mistake:
    """Edits or overrides, the place (file, character) where a finding belongs, and what it says.

    `culprit` must be named by the finding, and one of `mend` offered. `also` are other places that
    are as good: the other end of a cycle, the first of two declarations.
    """

    edits: tuple[Edit, ...]
    at: tuple[str, int] | None
    culprit: str
    mend: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    also: tuple[tuple[str, int], ...] = ()
    kind: str = ""


@dataclass
class Recipe:
    """The files of a recipe: the one that is checked, and those it extends."""

    name: str
    files: Mapping[str, str]
    spots: list[Spot] = field(default_factory=list)

    def __post_init__(self) -> None:
        for file, text in self.files.items():
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.spots.extend(_spots(file, (), root))

    @property
    def main(self) -> str:
        return next(iter(self.files))

    def find(self, *pattern: str | int) -> list[Spot]:
        """Spots whose path fits: `*` is any step, `features` means `features+` too."""
        return [s for s in self.spots if _fits(s.path, pattern)]

    def one(self, *path: str | int) -> Spot | None:
        found = self.find(*path)
        return found[0] if found else None

    def names(self, section: str) -> list[str]:
        return [str(s.path[1]) for s in self.find(section, "*")]

    def applied(self, edits: tuple[Edit, ...]) -> tuple[dict[str, str], list[tuple[Edit, int]]]:
        """The files after the edits, and how far each edit moved what is behind it."""
        files, moved = dict(self.files), []
        for edit in sorted(edits, key=lambda e: (e.start, e.end), reverse=True):
            text = files[edit.file]
            files[edit.file] = text[: edit.start] + edit.text + text[edit.end :]
            moved.append((edit, len(edit.text) - (edit.end - edit.start)))
        return files, moved

    def line(self, at: tuple[str, int], edits: tuple[Edit, ...]) -> int:
        """The 1-based line, after the edits, of a character of the text before them."""
        files, moved = self.applied(edits)
        file, place = at
        shift = sum(by for edit, by in moved if edit.file == file and edit.end <= place)
        # an insertion at the place itself: the finding is about what was inserted
        shift -= sum(
            by for e, by in moved if e.file == file and e.start == e.end == place and by > 0
        )
        return files[file][: place + shift].count("\n") + 1

    # ---- edits --------------------------------------------------------------------------------

    def put(self, node: yaml.Node, file: str, text: str) -> Edit:
        """Another text in the place of a scalar or flow collection."""
        return Edit(file, node.start_mark.index, node.end_mark.index, text)

    def rename_key(self, spot: Spot, text: str) -> Edit:
        assert spot.key is not None
        return self.put(spot.key, spot.file, text)

    def with_key(self, parent: Spot, text: str) -> tuple[Edit, tuple[str, int]]:
        """`text` (key: value) added to a map, and the place of it."""
        node = parent.node
        if node.flow_style:
            at = node.end_mark.index - 1
            before = ", " if node.value else ""
            return Edit(parent.file, at, at, before + text), (parent.file, at)
        at, column = node.start_mark.index, node.start_mark.column
        return Edit(parent.file, at, at, f"{text}\n{' ' * column}"), (parent.file, at)

    def without(self, spot: Spot) -> Edit | None:
        """An entry of a map taken out."""
        parent = next(s for s in self.parents(spot))
        pairs = parent.node.value
        number = next(i for i, (key, _) in enumerate(pairs) if key is spot.key)
        assert spot.key is not None
        start, end = spot.key.start_mark.index, spot.node.end_mark.index
        if parent.node.flow_style:
            if number + 1 < len(pairs):
                end = pairs[number + 1][0].start_mark.index
            elif number:
                start = pairs[number - 1][1].end_mark.index
            return Edit(spot.file, start, end, "")
        if len(pairs) < 2:
            return None
        if number + 1 < len(pairs):
            return Edit(spot.file, start, pairs[number + 1][0].start_mark.index, "")
        text = self.files[spot.file]
        return Edit(spot.file, text.rindex("\n", 0, start), end, "")

    def parents(self, spot: Spot) -> Iterator[Spot]:
        for other in self.spots:
            if other.file == spot.file and other.path == spot.path[:-1]:
                yield other

    def add_to(self, section: str, line: str) -> tuple[Edit, tuple[str, int]] | None:
        """A line `name: ...` added to a top-level section that is a block map or list."""
        found = [s for s in self.spots if len(s.path) == 1 and _same(s.path[0], section)]
        for spot in found:
            if spot.node.flow_style or not spot.node.value:
                continue
            first = spot.node.value[0]
            mark = (first[0] if isinstance(first, tuple) else first).start_mark
            text = self.files[spot.file]
            start = text.rindex("\n", 0, mark.index) + 1
            indent = " " * (mark.column - (0 if isinstance(first, tuple) else 2))
            return Edit(spot.file, start, start, f"{indent}{line}\n"), (spot.file, start)
        return None

    def top(self, text: str) -> tuple[Edit, tuple[str, int]]:
        """Lines added at the end of the main file."""
        end = len(self.files[self.main])
        return Edit(self.main, end, end, text), (self.main, end)


def _spots(file: str, path: tuple[str | int, ...], node: yaml.Node) -> Iterator[Spot]:
    if not path:
        yield Spot(file, (), None, node)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, key.value)
            yield Spot(file, inner, key, value)
            yield from _spots(file, inner, value)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            inner = (*path, number)
            yield Spot(file, inner, None, value)
            yield from _spots(file, inner, value)


def _same(step: str | int, wanted: str | int) -> bool:
    return wanted == "*" or str(step).removesuffix("+") == str(wanted)


def _fits(path: tuple[str | int, ...], pattern: tuple[str | int, ...]) -> bool:
    return len(path) == len(pattern) and all(map(_same, path, pattern))


def typo(word: str, rng: random.Random) -> str:
    """The word with one slip of the fingers: a letter dropped, doubled, swapped or mistaken."""
    for _ in range(50):
        at = rng.randrange(len(word))
        made = rng.choice(
            [
                word[:at] + word[at + 1 :],
                word[:at] + word[at] + word[at:],
                word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :],
                word[:at] + rng.choice(string.ascii_lowercase) + word[at + 1 :],
            ]
        )
        if made != word and made and made[0].isalpha():
            return made
    return word + "x"


def corpus(folder: Path, extra: Mapping[str, str]) -> list[Recipe]:
    """Every shipped recipe that has a graph, with the files it extends, and the extra ones."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))}
    texts.update(extra)
    made = []
    for name, text in texts.items():
        if "\ntasks:" not in text:
            continue
        files, current = {name: text}, text
        while (parent := yaml.safe_load(current).get("extends")) is not None:
            files[parent] = current = texts[parent]
        made.append(Recipe(name.removesuffix(".yaml"), files))
    return made


def combined(mistakes: list[Mistake]) -> tuple[Edit, ...] | None:
    """The edits of several mistakes, None where two touch or the same line is changed twice."""
    edits = sorted((e for m in mistakes for e in m.edits), key=lambda e: (e.file, e.start))
    for first, second in zip(edits, edits[1:], strict=False):
        if first.file == second.file and second.start <= first.end:
            return None
    return tuple(edits)


def labelled(mistake: Mistake, kind: str) -> Mistake:
    return replace(mistake, kind=kind)
