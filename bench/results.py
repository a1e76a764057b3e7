"""Rows of the table of goals, on the screen, as JSON and as a page."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.timing import Time

__all__ = ["Row", "page", "ratio", "save", "text"]

FOLDER = Path(__file__).resolve().parent / "results"
HEAD = ("goal", "work", "value", "wanted", "", "how")


@dataclass(frozen=True)
class Row:
    """One figure: what was measured, in which unit, and what was wanted of it.

    `wanted` is the least value, or the largest where `most`; None: no goal, for reading.
    `value` None: it can't be measured here, `how` says why.
    """

    goal: str
    work: str
    value: float | None
    unit: str = "x"
    wanted: float | None = None
    most: bool = False
    how: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the value is what was wanted; None where that can't be said."""
        if self.value is None or self.wanted is None:
            return None
        return self.value <= self.wanted if self.most else self.value >= self.wanted


def ratio(
    goal: str, work: str, ours: Time, theirs: Time, wanted: float | None = None, note: str = ""
) -> Row:
    """How many times as fast `ours` is by wall time, with times and the CPU ratio beside it."""
    wall, cpu = ours.over(theirs)
    how = f"{ours.wall:.2f} against {theirs.wall:.2f} ms; by CPU time {cpu:.2f} x"
    return Row(goal, work, round(wall, 3), "x", wanted, how=f"{how}; {note}" if note else how)


def text(rows: Sequence[Row]) -> str:
    """The table for a terminal."""
    table = [HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD))]
    lines = ("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in table)
    return "\n".join(line.rstrip() for line in lines)


def page(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """The table as Markdown, with the machine."""
    lines = [
        "# Results of `make bench`",
        "",
        f"{about['processor']}, {about['cores']} cores, {', '.join(about['bf16']) or 'no bf16'}, "
        f"{about['threads']} threads, load {about['load']} at the start, commit {about['commit']}"
        f"{' with changes' if about['changed'] else ''}. "
        + ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        + ".",
        "",
        "Ratios are of wall time unless said otherwise, medians of interleaved windows. Peers have",
        "a process of their own, with the allocator as it is without graphrec. Everybody's OpenMP",
        f"threads wait as under the command line: {_waiting(about)}.",
        "Goals were set on a machine with amx_bf16; without it bf16 gains less.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + "---|" * len(HEAD),
        *("| " + " | ".join(_cells(row)) + " |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def _waiting(about: Mapping[str, Any]) -> str:
    settings = about["openmp"].items()
    return ", ".join(f"`{name}={value}`" for name, value in settings if value is not None)


def save(rows: Sequence[Row], about: Mapping[str, Any], *, whole: bool) -> Path:
    """Write results as JSON; README.md too when every goal was measured."""
    kind = str(about["processor"]).lower().split("@")[0]
    kind = "-".join(part for part in kind.replace("(r)", "").replace("(tm)", "").split() if part)
    name = f"{time.strftime('%Y-%m-%d')}-{kind}-{about['commit']}"
    path = FOLDER / f"{name}{'' if whole else '-part'}.json"
    FOLDER.mkdir(exist_ok=True)
    found = {"machine": about, "rows": [asdict(row) | {"reached": row.reached} for row in rows]}
    path.write_text(json.dumps(found, indent=1) + "\n")
    if whole:
        (FOLDER / "README.md").write_text(page(rows, about))
    return path


def _cells(row: Row) -> tuple[str, ...]:
    value = "-" if row.value is None else f"{row.value:.4g} {row.unit}"
    wanted = "" if row.wanted is None else f"{'<=' if row.most else '>='} {row.wanted:g}"
    said = {True: "yes", False: "no", None: ""}[row.reached]
    return row.goal, row.work, value, wanted, said, row.how
