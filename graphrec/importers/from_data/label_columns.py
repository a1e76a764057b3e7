"""Labels -> tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphrec.ground.errors import DataError, Problem, suggestion
from graphrec.importers.from_data.profile import Profile

__all__ = ["KINDS", "Label", "labels_of"]

KINDS = ("binary", "regression", "multiclass")
_RARE = 0.05


@dataclass(frozen=True)
class Label:
    """A label column and the kind of its task; `log` where its values span orders of magnitude."""

    column: str
    kind: str
    classes: int = 0
    log: bool = False
    values: Any = None

    @property
    def is_rare(self) -> bool:
        """Whether a binary label is 1 in few rows: beside others its loss is next to nothing."""
        return self.kind == "binary" and float((self.values > 0).mean()) < _RARE


def labels_of(
    names: Sequence[str], kinds: Mapping[str, str], columns: Mapping[str, Profile]
) -> list[Label]:
    """The labels; `kinds` where the user said so. DataError for those that can't be used."""
    problems, chosen = [], []
    for name in names:
        column = columns.get(name)
        if column is None:
            what = f"the data has no column `{name}`"
            problems.append(Problem("GR703", what, help=suggestion(name, columns, 40)))
        elif column.kind not in ("numbers", "truth values") or not column.quantiles:
            what = f"label `{name}` holds {column.kind}, but numbers are needed"
            problems.append(Problem("GR704", what))
        else:
            chosen.append(_label(column, kinds.get(name, "")))
    if problems:
        raise DataError(problems)
    return chosen


def _label(column: Profile, wanted: str) -> Label:
    low, _, median, near, high = column.quantiles
    kind = wanted or _guess(column)
    if kind == "multiclass":
        return Label(column.name, kind, max(int(high) + 1, 2), values=column.numbers)
    skewed = kind == "regression" and low >= 0 and near > 5 * max(median, 0.1)
    return Label(column.name, kind, log=skewed, values=column.numbers)


def _guess(column: Profile) -> str:
    low, high = column.quantiles[0], column.quantiles[-1]
    if (low, high) in ((0, 1), (0, 0), (1, 1)) and column.distinct <= 2:
        return "binary"
    few = column.whole and low == 0 and 2 < column.distinct <= 50
    return "multiclass" if few and high + 1 == column.distinct else "regression"
