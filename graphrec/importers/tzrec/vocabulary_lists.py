"""Values listed inside a config -> a vocabulary file beside the recipe."""

from __future__ import annotations

from graphrec.importers.tzrec.naming import legal_feature
from graphrec.importers.tzrec.section import Section

__all__ = ["listed_values"]


def listed_values(section: Section) -> str:
    """`file(NAME)` for the values of `vocab_list` or `vocab_dict`; the file goes with the import.

    Values that no line can hold, or too few of them, leave `fit`, and that is told.
    """
    values = _values(section)
    section.ignore("default_bucketize_value")
    kept = list(dict.fromkeys(value for value in values if value and value.splitlines() == [value]))
    if len(kept) < len(values):
        what = f"{len(values) - len(kept)} listed values are empty, repeated or several lines"
        section.notes.add(section.span, f"{what}: they share the row of unseen values")
    if not kept:
        return "fit"
    return f"file({section.notes.file(legal_feature(section.text('feature_name')), kept)})"


def _values(section: Section) -> list[str]:
    """The values in the order of their rows."""
    if section.count("vocab_list"):
        section.ignore("vocab_dict")
        return section.texts("vocab_list")
    rows: dict[int, str] = {}
    for entry in section.sections("vocab_dict"):
        row = entry.integer("value") or 0
        if row in rows:
            what = "several values of vocab_dict have one row: each gets a row of its own"
            section.notes.add(entry.span, what)
            row = max(rows) + 1
        rows[row] = entry.text("key")
    return [rows[row] for row in sorted(rows)]
