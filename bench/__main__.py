"""Measure the goals of graphrec's speed on this machine, print the table, keep it.

    make bench                          everything, about an hour on two cores
    python -m bench --only P3 --quick   one goal, small sizes

Results go to bench/results: JSON always, README.md and pictures when everything was measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable

from bench.options import Options
from bench.results import Row, save, text
from bench.timing import machine

__all__ = ["main"]

GOALS = {
    "bench.goals.training": ("P1", "P2", "P5"),
    "bench.goals.peers": ("P3",),
    "bench.goals.roofline": ("P4",),
    "bench.inference": ("P6",),
    "bench.candidates": ("P7",),
    "bench.goals.growth": ("P8",),
    "bench.goals.starting": ("P9", "P10"),
    "bench.goals.memory": ("P11",),
    "bench.goals.ranks": ("P14",),
    "bench.goals.hstu": ("P12", "P13"),
    "bench.serving": ("P15",),
}
SCRIPTS = ("bench.inference", "bench.candidates", "bench.serving")
"""Comparisons with a command line of their own; `goal_rows(options)` makes them rows here."""


def main() -> None:
    """Parse the command line, measure, print and write."""
    every = [goal for goals in GOALS.values() for goal in goals]
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="P3")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--windows", type=int, default=7, help="of which medians are taken")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a window, at least")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works")
    parser.add_argument("--draw", action="store_true", help="draw the pictures of the last results")
    args = parser.parse_args()
    if args.draw:
        from bench.plots import draw

        draw()
        return
    options = Options(args.threads, args.windows, args.seconds, args.quick)
    about = machine(options.threads)
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    rows = measured(args.only, options)
    whole = args.only == every and not args.quick
    path = save(rows, about, whole=whole)
    print(f"\n{text(rows)}\n\n{path}")


def measured(only: Iterable[str], options: Options) -> list[Row]:
    """The rows of some goals, by goal; what fails is a row that says so."""
    import torch

    torch.set_num_threads(options.threads)
    # What others say while they are imported and run is not about these figures.
    warnings.simplefilter("ignore")
    wanted, found = list(only), []
    for name, goals in GOALS.items():
        if set(goals) & set(wanted):
            start = time.perf_counter()
            print(f"\n== {', '.join(goals)}", flush=True)
            rows = [row for row in _rows(name, goals, options) if row.goal in wanted]
            print(text(rows))
            print(f"{time.perf_counter() - start:.0f} s", flush=True)
            found += rows
    order = {goal: int(goal[1:]) for goals in GOALS.values() for goal in goals}
    return sorted(found, key=lambda row: order[row.goal])


def _rows(name: str, goals: tuple[str, ...], options: Options) -> list[Row]:
    if importlib.util.find_spec(name) is None:
        return [Row(goals[0], name, None, how=f"there is no {name}")]
    found = importlib.import_module(name)
    if name in SCRIPTS and not hasattr(found, "goal_rows"):
        subprocess.run([sys.executable, "-m", name], check=False)
        return [Row(goals[0], name, None, how=f"its own table: python -m {name}")]
    measure: Callable[[Options], list[Row]] = getattr(found, "goal_rows", None) or found.rows
    try:
        return measure(options)
    except (RuntimeError, ValueError, ImportError, OSError) as error:
        return [Row(goals[0], name, None, how=f"{type(error).__name__}: {error}"[:300])]


if __name__ == "__main__":
    main()
