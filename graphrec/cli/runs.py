"""runs: a table of the runs there are."""

from __future__ import annotations

import argparse

from graphrec.cli.command import Command, Parser, shared_options
from graphrec.cli.console import Console

__all__ = ["COMMANDS"]


def _runs(args: argparse.Namespace, console: Console) -> int:
    from graphrec.train.history import differences, past_runs, runs_table

    runs = past_runs(args.glob)
    if console.json:
        pairs = zip(runs, differences(runs), strict=True)
        console.data([run.as_json(lines) for run, lines in pairs])
    else:
        console.result(runs_table(runs))
    return 0


def _options(parser: Parser) -> None:
    parser.add_argument(
        "glob", metavar="GLOB", nargs="?", default="runs/*", help="run folders (default: runs/*)"
    )
    shared_options(parser)


COMMANDS = (
    Command(
        "runs",
        "list run folders: what differs, data, best scores, time",
        _runs,
        _options,
        ("graphrec runs", "graphrec runs 'runs/shop*' --format json"),
    ),
)
