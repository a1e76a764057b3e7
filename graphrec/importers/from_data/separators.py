"""Texts that hold several values: what stands between them, and what each value looks like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

__all__ = ["Splitting", "in_brackets", "lists_in_brackets", "splitting"]

_MARKS = "\x1d\x01\x02\x03^|;, ~#"
"""Marks tried, those that text rarely holds by chance first."""
_RARE = "\x1d\x01\x02\x03^|"
_LOOKED = 20_000
_ID = r"^[A-Za-z]{0,3}[_-]?[0-9]+$"
_NUMBER = r"^[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?$"
_FRACTION = r"[.eE]"
_PAIR = r"^[^:\s]+:[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?$"


@dataclass(frozen=True)
class Splitting:
    """The mark between the values of a text; `pairs` where each is `value:weight`."""

    sep: str
    pairs: bool = False


def in_brackets(texts: Any) -> bool:
    """Whether texts are lists as Python or JSON print them: `[1, 2]`."""
    import pyarrow.compute as pc

    some = texts.drop_null()[:_LOOKED]
    some = some.filter(pc.not_equal(some, ""))
    return len(some) > 0 and _share(some, r"^\[[^:]*\]$") > 0.95


def lists_in_brackets(texts: Any) -> Any:
    """The lists that texts print; of float64 where all are numbers and some are fractions."""
    import pyarrow as pa
    import pyarrow.compute as pc

    inner = pc.replace_substring_regex(texts, r"^\[\s*|\s*\]$|['\"]", "")
    inner = pc.replace_substring_regex(inner, r"\s*,\s*|\s+", ",")
    inner = pc.if_else(pc.equal(inner, ""), pa.scalar(None, inner.type), inner)
    lists = pc.split_pattern(inner, ",")
    values = lists.flatten()
    if _share(values, _FRACTION) > 0.2 and _share(values, _NUMBER) == 1.0:
        return lists.cast(pa.list_(pa.float64()))
    return lists


def splitting(texts: Any) -> Splitting | None:
    """How a column of texts is a column of several values each, or None."""
    import pyarrow.compute as pc

    some = texts.drop_null()[:_LOOKED]
    some = some.filter(pc.not_equal(some, ""))
    if not len(some):
        return None
    for mark in _MARKS:
        share = pc.mean(pc.match_substring(some, mark)).as_py()
        if share < 0.2:
            continue
        parts = pc.list_flatten(pc.split_pattern(some, mark))
        parts = parts.filter(pc.not_equal(parts, ""))
        if _share(parts, _PAIR) > 0.95:
            return Splitting(mark, pairs=True)
        if _several(mark, some, parts):
            return Splitting(mark)
    if _share(some, _PAIR) > 0.95:  # one pair in every text that was seen
        return Splitting(",", pairs=True)
    return None


def _several(mark: str, texts: Any, parts: Any) -> bool:
    """Whether the parts are values that come back, and not the words of prose."""
    import pyarrow.compute as pc

    if not len(parts):
        return False
    values, whole = len(pc.unique(parts)), len(pc.unique(texts))
    identities = _share(parts, _ID) > 0.9
    if mark == " ":
        # Titles and names are words too; ids joined by spaces are numbers or codes.
        return identities and values < len(parts) / 2
    if mark != " " and pc.mean(pc.match_substring(texts, f"{mark} ")).as_py() >= 0.05:
        return False
    if identities and (mark in _RARE or len(parts) > 1.3 * len(texts)):
        return values < len(parts) / 1.5
    return values * 2 < whole


def _share(texts: Any, pattern: str) -> float:
    """The share of texts that look like the pattern (RE2's syntax)."""
    import pyarrow.compute as pc

    assert re.compile(pattern)
    return float(pc.mean(pc.match_substring_regex(texts, pattern)).as_py() or 0.0)
