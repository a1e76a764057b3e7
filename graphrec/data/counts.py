"""What happened to the rows: read = trained + skipped + quarantined."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Counts"]


@dataclass
class Counts:
    """Rows and values counted while data flowed.

    `trained` rows were handed out in batches, `skipped` ones were read but belong to the other side
    of a split, came before the place a run resumed at, or were left when an epoch was cut short.
    """

    read: int = 0
    trained: int = 0
    skipped: int = 0
    quarantined: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Why rows were quarantined: `column: what was wrong` -> rows (a row may have several)."""
    values: Counter[str] = field(default_factory=Counter)
    """Values looked up in a vocabulary, per feature (`click_50.item` for a sequence's column)."""
    unseen: Counter[str] = field(default_factory=Counter)
    """Values not in the vocabulary, per feature."""
    unlabelled: Counter[str] = field(default_factory=Counter)
    """Rows without a label, per task."""

    def add(self, other: Counts) -> None:
        """Count what `other` counted, too."""
        self.read += other.read
        self.trained += other.trained
        self.skipped += other.skipped
        self.quarantined += other.quarantined
        for mine, theirs in (
            (self.reasons, other.reasons),
            (self.values, other.values),
            (self.unseen, other.unseen),
            (self.unlabelled, other.unlabelled),
        ):
            mine.update(theirs)

    def unseen_rates(self) -> dict[str, float]:
        """Share of values not in the vocabulary, by feature."""
        return {name: self.unseen[name] / n for name, n in sorted(self.values.items()) if n}
