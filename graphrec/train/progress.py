"""What a person sees while a model trains: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from graphrec.recipe.model import Recipe
from graphrec.recipe.retrieval import RETRIEVAL
from graphrec.recipe.tasks import INSIDE, has_inside, key

__all__ = [
    "Console",
    "Progress",
    "clock",
    "number",
    "score_rows",
    "score_table",
    "status",
    "table",
    "evaluation_title",
]

_PLAIN_EVERY = 10.0  # seconds between lines of a log, which are all kept
_BAR_EVERY = 0.2  # seconds between two drawings of a bar: smooth, and nothing against a step


class Console(Protocol):
    """Where text goes: `result` is what was asked for, `remark` is silent when `quiet`."""

    @property
    def quiet(self) -> bool: ...

    def result(self, text: str) -> None: ...

    def remark(self, text: str) -> None: ...


class Progress:
    """The state of training, refreshed at most a few times a second; use as a context."""

    def __init__(self, console: Console, total: int | None, done: int = 0) -> None:
        self.console, self.total, self.first = console, total, done
        self._start = self._shown = time.perf_counter()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if not self.console.quiet and sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task("", total=self.total, completed=self.first, text="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def due(self) -> bool:
        """Whether it is time to show something again."""
        wait = _BAR_EVERY if self._bar is not None else _PLAIN_EVERY
        return not self.console.quiet and time.perf_counter() - self._shown >= wait

    def show(self, step: int, text: str) -> None:
        """The numbers of the moment, at update `step`."""
        self._shown = time.perf_counter()
        if self._bar is not None:
            self._bar.update(self._task, completed=step, text=text)
            return
        of = f"/{self.total}" if self.total else ""
        left = self._left(step)
        self.console.remark(f"step {step}{of}  {text}" + (f"  {left} left" if left else ""))

    def say(self, text: str) -> None:
        """Lines that stay, above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self.console.remark(text)

    def _left(self, step: int) -> str:
        done = step - self.first
        if not self.total or done <= 0:
            return ""
        return clock((time.perf_counter() - self._start) / done * (self.total - step))


def status(
    loss: float | None, aucs: Mapping[str, float | None], speed: float, loader: float
) -> str:
    """`loss 0.4312  ctr.auc 0.7312  41,000 rows/s  loader 3%`."""
    parts = [f"loss {loss:.4f}"] if loss is not None else []
    parts += [f"{name} {value:.4f}" for name, value in aucs.items() if value is not None]
    parts += [f"{speed:,.0f} rows/s", f"loader {loader:.0%}"]
    return "  ".join(parts)


def evaluation_title(record: Mapping[str, Any]) -> str:
    """`epoch 1  step 400  eval 2,000 rows in 0.1 s  loss 0.4312`."""
    return (
        f"epoch {record['epoch']}  step {record['step']}  "
        f"eval {record['rows']:,} rows in {record['seconds']:.1f} s  "
        f"loss {number(record['loss'])}"
    )


def score_table(
    recipe: Recipe, record: Mapping[str, Any], reachable: Mapping[str, Mapping[str, float]]
) -> str:
    """Metrics by task, with the best reachable AUC beside them where the data is generated.

    Without a task, the terms of the loss.
    """
    if recipe.retrieval is not None:
        names = [str(call) for call in recipe.retrieval.metrics]
        cells = [number(record.get(key(RETRIEVAL, name))) for name in names]
        return table([["", *names], [RETRIEVAL, *cells]])
    if not recipe.tasks:
        terms = [name for name in record if name.endswith(".loss")]
        return table([["term", "loss"], *([n[:-5], number(record[n])] for n in terms)])
    names = list(dict.fromkeys(str(c) for task in recipe.tasks.values() for c in task.metrics))
    rows = [["task", *names, *(["best reachable auc"] if reachable else [])]]
    for name, label, ending in score_rows(recipe):
        own = [str(call) for call in recipe.tasks[name].metrics]
        cells = [number(record.get(key(name, n) + ending)) if n in own else "" for n in names]
        limit = [number(reachable.get(name + ending, {}).get("auc"))] if reachable else []
        rows.append([label, *cells, *limit])
    return table(rows)


def score_rows(recipe: Recipe) -> list[tuple[str, str, str]]:
    """(task, how its line is called, ending of its keys): all rows, then those of its space."""
    rows = []
    for name, task in recipe.tasks.items():
        if task.metrics:
            rows.append((name, name, ""))
            if has_inside(task) and task.space is not None:
                rows.append((name, f"{name} where {task.space.label} > 0", INSIDE))
    return rows


def number(value: object) -> str:
    """Four digits; `-` where a metric is not available."""
    return f"{value:.4f}" if isinstance(value, int | float) else "-"


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Rows under each other, the first column left, the others right.

    >>> print(table([["task", "auc"], ["ctr", "0.7312"]]))
      task     auc
      ctr   0.7312
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(indent + "  ".join(cells).rstrip())
    return "\n".join(lines)


def clock(seconds: float) -> str:
    """Minutes and seconds, hours where there are any.

    >>> clock(75), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _bar() -> Any:
    from rich.console import Console as Terminal
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    return Bar(
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        TimeRemainingColumn(),
        console=Terminal(stderr=True),
        transient=True,
    )
