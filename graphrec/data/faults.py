"""Cells that can't be used: refused with file, row and column, or counted and quarantined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from graphrec.data.chunk import Array
from graphrec.ground.errors import DataError, Problem

__all__ = ["Faults", "bad_data", "shown"]

_LIMIT = 10  # findings shown per error


def shown(value: object) -> str:
    """A cell as it appears in messages, cut short; a number of numpy looks like a plain one."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def bad_data(code: str, message: str, help_text: str = "") -> DataError:
    """A DataError with one problem."""
    return DataError(Problem(code, message, help=help_text))


@dataclass
class Faults:
    """Bad cells of one chunk of rows.

    `row(i)` gives the 1-based number, in `file`, of the chunk's row i. Rows that are `served` can't
    be left out: each is owed a prediction.
    """

    file: str
    num_rows: int
    row: Callable[[int], int]
    policy: Literal["error", "quarantine"] = "error"
    served: bool = False
    problems: list[tuple[int, Problem]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    bad: Array | None = None

    def add(
        self,
        mask: Array,
        column: str,
        why: str,
        value: Callable[[int], Any],
        code: str = "GR706",
    ) -> None:
        """Mark the rows where `mask` [B] is true; `value(i)` is the cell to show for row i."""
        if not mask.any():
            return
        self.bad = mask.copy() if self.bad is None else self.bad | mask
        self.reasons[f"{column}: {why}"] += int(mask.sum())
        first = int(mask.argmax())
        message = (
            f"column `{column}`, row {self.row(first)} of {self.file}: {shown(value(first))} {why}"
        )
        more = int(mask.sum()) - 1
        text = f"{more} more rows of this chunk have the same fault\n" if more else ""
        text += "repair the rows"
        if not self.served:
            text += ", or leave them out and count them: data.bad_rows: quarantine"
        self.problems.append((first, Problem(code, message, path=f"data.{column}", help=text)))

    def keep(self) -> Array | None:
        """Index of the good rows, None if all are; raises DataError unless they are quarantined."""
        if self.bad is None:
            return None
        if self.policy == "error":
            earliest = sorted(self.problems, key=lambda entry: entry[0])
            raise DataError(problem for _, problem in earliest[:_LIMIT])
        return np.flatnonzero(~self.bad)
