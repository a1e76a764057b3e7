"""What a column is for, guessed from its name and its values; and why, where it is left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from graphrec.importers.from_data.column_names import (
    history_named,
    identity_named,
    measure_named,
    time_named,
    weight_named,
)
from graphrec.importers.from_data.number_shape import measures
from graphrec.importers.from_data.profile import Profile

__all__ = ["Role", "histories", "role_of"]

_MOST_FITTED = 100_000  # more values than that are hashed
_SEQUENCE = 50  # longest history proposed
_BUCKETS, _ROWS_A_BUCKET = 50, 350


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
    given = list(roles)
    ids = [columns[role.name] for role in given if role.kind == "id" and columns[role.name].values]
    settled = []
    for role in given:
        values = columns[role.name].values
        if role.kind != "pooled" or columns[role.name].pairs or not values or not ids:
            settled.append(role)
            continue
        alike = {c.name: len(values & c.values) / len(values | c.values) for c in ids}
        best = max(alike, key=lambda name: (alike[name], _shares_word(name, role.name)))
        named = history_named(role.name)
        large = len(values) > 500 and columns[role.name].mean_length >= 3
        if (named and len(values) > 20 and alike[best] >= 0.2) or (large and alike[best] >= 0.5):
            settings: dict[str, Any] = {"max_len": _steps(columns[role.name].longest)}
            settings |= {key: role.settings[key] for key in ("sep", "pad") if key in role.settings}
            role = replace(role, kind="history", of=best, settings=settings)
        settled.append(role)
    return settled


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
    if column.kind == "numbers" and weight_named(column.name):
        return "looks like weights of rows: sample_weight: COLUMN at a task"
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
    return column.kind == "numbers" and (measure_named(column.name) or measures(column.numbers))


def _is_time(column: Profile) -> bool:
    if column.kind != "numbers" or not column.quantiles or not column.whole:
        return False
    low, high = column.quantiles[0], column.quantiles[-1]
    epoch = any(8e8 * unit <= low and high <= 2.6e9 * unit for unit in (1, 1e3, 1e6, 1e9))
    day = low >= 19700101 and high <= 21001231
    return time_named(column.name) and (epoch or day)


def _is_id(column: Profile) -> bool:
    """Whether a whole number is one of many things rather than how much of one."""
    if not column.whole:
        return False
    if measure_named(column.name):
        return column.distinct <= 2
    return identity_named(column.name) or column.distinct <= 100 or not measures(column.numbers)


def _vocab(column: Profile) -> str:
    if column.distinct > _MOST_FITTED:
        size = 10 ** (len(str(column.distinct)) - 1)
        return f"hash({-(-2 * column.distinct // size) * size:_})"
    return "fit(min_count=2)" if column.distinct > 2000 else "fit"


def _of_lists(column: Profile) -> Role:
    written: dict[str, Any] = {"sep": column.sep} if column.sep else {}
    if column.whole:
        written |= {"weights": "inside"} if column.pairs else {}
        written |= {"pad": _pad(column)} if column.pad is not None else {}
        pool = "sum" if column.pairs else "mean"
        return Role(column.name, "pooled", {"vocab": _vocab(column), "pool": pool, **written})
    if column.fixed:
        width = round(column.mean_length)
        return Role(column.name, "dense", {"width": width, "transform": "zscore", **written})
    return Role(column.name, "out", why="lists of fractions, of different lengths")


def _pad(column: Profile) -> int | str:
    text = str(column.pad)
    return int(float(text)) if re.fullmatch(r"-?[0-9]+(\.0)?", text) else text


def _of_numbers(column: Profile) -> Role:
    """Buckets, each with a vector of its own; what is null or very frequent has a bucket too."""
    if column.distinct > 2:
        # Fewer rows than that learn no vector of their own (measured on 7,000 rows of Criteo's).
        number = max(10, min(_BUCKETS, column.rows // _ROWS_A_BUCKET // 10 * 10))
        return Role(column.name, "bucket", {"edges": f"quantile({number})"})
    return Role(column.name, "dense", {"transform": "zscore"})
