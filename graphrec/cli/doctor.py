"""doctor: what this machine has, what is missing, and the line that mends it."""

from __future__ import annotations

import argparse

from graphrec.cli.command import Command, Parser, shared_options
from graphrec.cli.console import Console

__all__ = ["COMMANDS"]


def _doctor(args: argparse.Namespace, console: Console) -> int:
    from graphrec.verify.environment import examine

    report = examine(imports=not args.fast)
    if console.json:
        console.data(report.as_json())
    else:
        console.result(report.as_text())
    return 4 if report.errors else 0


def _options(parser: Parser) -> None:
    parser.add_argument(
        "--fast", action="store_true", help="look at versions only, import nothing (1 s, not 15)"
    )
    shared_options(parser)


COMMANDS = (
    Command(
        "doctor",
        "say what is installed, what is missing or does not fit, and how to mend it",
        _doctor,
        _options,
        ("graphrec doctor", "graphrec doctor --fast --format json"),
    ),
)
