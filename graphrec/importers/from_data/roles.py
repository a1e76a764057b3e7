"""What a column is for, guessed from its name and its values; and why, where it is left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from graphrec.importers.from_data.profile import Profile

__all__ = ["Role", "histories", "role_of"]

_MOST_FITTED = 100_000  # more values than that are hashed
_SEQUENCE = 50  # longest history proposed
_NUMERIC = re.compile(
    r"(^|_)(num|number|count|counts|cnt|age|price|days|hours|minutes|seconds|duration|length|width|"
    r"height|size|amount|amt|score|rate|ratio|year|years|weeks|months|avg|mean|sum|total|qty|"
    r"quantity|distance|dist|weight|income|salary|wage|pct|percent|level_num)(_|s?$)"
)
_IDENTITY = re.compile(
    r"(^|_)(id|ids|uid|pid|code|type|cat|cate|category|class|group|hour|weekday|month|"
    r"zip|zip3|tab|flag|gender|sex|is|has|feat\d*|level|range|kind|status)(_|$)"
)
_TIME = re.compile(
    r"(^|_)(ts|time|timestamp|datetime|date|day|day_id|dt|unixtime|created|updated)(_(ms|s|sec|us|at))?$"
)
_HISTORY = re.compile(
    r"(^|_)(hist|history|histories|seq|sequence|clicked|clicks|click|viewed|views|view|liked|bought|"
    r"buy|purchased|recent|past|last|prev|previous|behaviou?rs?|watched|shown|seen)(_|\d|$)"
)


@dataclass(frozen=True)
class Role:
    """`kind`: id, dense, bucket, pooled, history or out (with `why`); `settings` of its family."""

    name: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    of: str = ""


def role_of(column: Profile) -> Role:
    """What one column is for, seen by itself."""
    why = _useless(column)
    if why:
        return Role(column.name, "out", why=why)
    if column.is_list:
        return _of_lists(column)
    if column.kind in ("text", "truth values") or _is_id(column):
        return Role(column.name, "id", {"vocab": _vocab(column)})
    return _of_numbers(column)


def histories(roles: Iterable[Role], columns: Mapping[str, Profile]) -> list[Role]:
    """The roles with lists that hold values of an id column as histories of that column.

    Of several id columns the one whose values are most alike; a history of few values of a large
    table (ratings, say) is no history of it.
    """
    found = list(roles)
    ids = [columns[role.name] for role in found if role.kind == "id" and columns[role.name].values]
    made = []
    for role in found:
        values = columns[role.name].values
        if role.kind != "pooled" or not values or not ids:
            made.append(role)
            continue
        alike = {c.name: len(values & c.values) / len(values | c.values) for c in ids}
        best = max(alike, key=lambda name: (alike[name], _shares_word(name, role.name)))
        named = _HISTORY.search(role.name.lower()) is not None
        large = len(values) > 500 and columns[role.name].mean_length >= 3
        if (named and len(values) > 20 and alike[best] >= 0.2) or (large and alike[best] >= 0.5):
            settings: dict[str, Any] = {"max_len": _steps(columns[role.name].longest)}
            if columns[role.name].sep:
                settings["sep"] = columns[role.name].sep
            role = replace(role, kind="history", of=best, settings=settings)
        made.append(role)
    return made


def _shares_word(a: str, b: str) -> bool:
    words = [{w for w in re.split(r"[^a-z]+", x.lower()) if len(w) > 2} for x in (a, b)]
    return bool(words[0] & words[1])


def _steps(longest: int) -> int:
    return min(_SEQUENCE, max(5, -(-longest // 5) * 5))


def _useless(column: Profile) -> str:
    present = column.rows - column.nulls
    if column.kind == "nothing" or not present:
        return "has no values"
    if column.kind == "times" or _is_time(column):
        return "a time: for data.split, not a feature"
    if column.is_list and column.distinct == 0:
        return "holds lists of lists" if "lists of lists" in column.kind else "its lists are empty"
    if not column.is_list and column.kind not in ("numbers", "text", "truth values"):
        return f"holds {column.kind}"
    if column.distinct == 1 and (column.is_list or not column.nulls):
        return "always the same"
    if column.is_list or column.kind == "truth values":
        return ""
    if column.whole and present > 1000 and column.distinct > 0.98 * present and not _counts(column):
        return "another value in every row"
    return "free text" if column.mean_length > 60 else ""


def _counts(column: Profile) -> bool:
    return column.kind == "numbers" and _NUMERIC.search(column.name.lower()) is not None


def _is_time(column: Profile) -> bool:
    if column.kind != "numbers" or not column.quantiles or not column.whole:
        return False
    low, high = column.quantiles[0], column.quantiles[-1]
    named = _TIME.search(column.name.lower()) is not None
    epoch = any(8e8 * unit <= low and high <= 2.6e9 * unit for unit in (1, 1e3, 1e6, 1e9))
    day = low >= 19700101 and high <= 21001231
    return named and (epoch or day)


def _is_id(column: Profile) -> bool:
    if not column.whole:
        return False
    name = column.name.lower()
    if _NUMERIC.search(name):
        return column.distinct <= 2
    if _IDENTITY.search(name) or column.distinct <= 100:
        return True
    low, high = column.quantiles[0], column.quantiles[-1]
    dense = low >= 0 and column.distinct > 0.3 * (high - low + 1)
    return dense or high > 1e6


def _vocab(column: Profile) -> str:
    if column.distinct > _MOST_FITTED:
        size = 10 ** (len(str(column.distinct)) - 1)
        return f"hash({-(-2 * column.distinct // size) * size:_})"
    return "fit(min_count=2)" if column.distinct > 2000 else "fit"


def _of_lists(column: Profile) -> Role:
    split = {"sep": column.sep} if column.sep else {}
    if column.whole:
        return Role(column.name, "pooled", {"vocab": _vocab(column), "pool": "mean", **split})
    if column.fixed:
        width = round(column.mean_length)
        return Role(column.name, "dense", {"width": width, "transform": "zscore", **split})
    return Role(column.name, "out", why="lists of fractions, of different lengths")


def _of_numbers(column: Profile) -> Role:
    """Buckets where a number behaves like a category or is often missing; else it is scaled."""
    low, _, median, high, _ = column.quantiles
    odd = column.top > 0.3 or column.nulls > 0.05 * column.rows or column.distinct <= 100
    if odd and column.distinct > 2:
        return Role(column.name, "bucket", {"edges": "quantile(50)"})
    skewed = low >= 0 and high > 10 * max(median, 0.1)
    return Role(column.name, "dense", {"transform": "log1p" if skewed else "zscore"})
