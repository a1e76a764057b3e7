"""What happened to the rows: read = trained + skipped + quarantined; and what their cells held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from graphrec.data.chunk import Array, Chunk, Ragged

__all__ = ["Counts", "Range", "count_ranges", "widen"]

Range = tuple[float, float]
"""Least and largest number."""


@dataclass
class Counts:
    """Rows and values counted while data flowed; `add` sums the counts of several chunks.

    `trained` rows were handed out in batches, `skipped` ones were read but belong to the other side
    of a split, came before the place a run resumed at, or were left when an epoch was cut short.
    Features go by their key, `click_50.item` for a column of a sequence.
    """

    read: int = 0
    trained: int = 0
    skipped: int = 0
    quarantined: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Why rows were quarantined: `column: what was wrong` -> rows (a row may have several)."""
    cells: Counter[str] = field(default_factory=Counter)
    """Rows whose cell of a feature was looked at."""
    nulls: Counter[str] = field(default_factory=Counter)
    """Rows whose cell of a feature is null."""
    values: Counter[str] = field(default_factory=Counter)
    """Values looked up in a vocabulary, per feature; or, of `hash(N)`, compared with those seen."""
    unseen: Counter[str] = field(default_factory=Counter)
    """Values not in the vocabulary, per feature; of `hash(N)`, not among the training values."""
    unlabelled: Counter[str] = field(default_factory=Counter)
    """Rows without a label, per task."""
    usable: Counter[str] = field(default_factory=Counter)
    """Rows of which a task learns: labelled, of positive weight, inside its space."""
    positive: Counter[str] = field(default_factory=Counter)
    """Rows of a task with a label above 0."""
    one_class: Counter[str] = field(default_factory=Counter)
    """Rows in chunks of a thousand rows and more that hold one class of a binary task only."""
    doubtful: Counter[str] = field(default_factory=Counter)
    """`feature: what its texts look like` -> cells, among the first rows of each file."""
    looked: Counter[str] = field(default_factory=Counter)
    """Cells of a feature that were looked at for `doubtful`."""
    ranges: dict[str, Range] = field(default_factory=dict)
    """Least and largest of what the model sees of a feature: table rows, or transformed numbers."""
    labels: dict[str, Range] = field(default_factory=dict)
    """Least and largest label of a task."""

    def add(self, other: Counts) -> None:
        """Count what `other` counted, too."""
        for part in fields(self):
            mine, theirs = getattr(self, part.name), getattr(other, part.name)
            if isinstance(mine, int):
                setattr(self, part.name, mine + theirs)
            elif isinstance(mine, Counter):
                mine.update(theirs)
            else:
                for name, bounds in theirs.items():
                    widen(mine, name, bounds)

    def unseen_rates(self) -> dict[str, float]:
        """Share of values not in the vocabulary, by feature."""
        return {name: self.unseen[name] / n for name, n in sorted(self.values.items()) if n}

    def null_rates(self) -> dict[str, float]:
        """Share of rows whose cell is null, by feature."""
        return {name: self.nulls[name] / n for name, n in sorted(self.cells.items()) if n}

    def plain(self) -> dict[str, Any]:
        """The counts as JSON."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return {
            name: value if isinstance(value, int) else dict(sorted(value.items()))
            for name, value in values.items()
        }

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Counts:
        """Counts from their JSON; an empty map is no counts."""
        counts = cls()
        for part in fields(counts):
            value = values.get(part.name, 0 if part.type == "int" else {})
            if isinstance(value, int):
                setattr(counts, part.name, value)
            elif isinstance(getattr(counts, part.name), Counter):
                getattr(counts, part.name).update(value)
            else:
                ranges = {name: (low, high) for name, (low, high) in value.items()}
                getattr(counts, part.name).update(ranges)
        return counts


def count_ranges(chunk: Chunk, counts: Counts) -> None:
    """Note the least and largest value of every feature."""
    for name, feature in chunk.features.items():
        values: Array | Ragged = feature
        while isinstance(values, Ragged):
            values = values.values
        if values.size:
            widen(counts.ranges, name, (float(values.min()), float(values.max())))


def widen(ranges: dict[str, Range], name: str, bounds: Range) -> None:
    """Let the range of `name` take in another one."""
    low, high = ranges.get(name, bounds)
    ranges[name] = (min(low, bounds[0]), max(high, bounds[1]))
