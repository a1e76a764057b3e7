"""explain: what a code of a diagnostic means, with an example and its cure."""

from __future__ import annotations

import argparse

from graphrec.cli.command import Command, Parser, shared_options, unknown
from graphrec.cli.console import Console

__all__ = ["COMMANDS"]


def _explain(args: argparse.Namespace, console: Console) -> int:
    from graphrec.views.explain import page, titles

    if args.code is None:
        by_code = titles()
        if console.json:
            console.data(by_code)
            return 0
        from graphrec.ground.text import aligned

        console.result(aligned([[code, title] for code, title in by_code.items()]))
        return 0
    code = args.code.upper()
    if code not in titles():
        raise unknown(args.code, titles(), "code", "GR001")
    if console.json:
        console.data({"code": code, "title": titles()[code], "text": page(code)})
    else:
        console.result(page(code))
    return 0


def _options(parser: Parser) -> None:
    parser.add_argument("code", metavar="CODE", nargs="?", help="such as GR502")
    shared_options(parser)


COMMANDS = (
    Command(
        "explain",
        "tell what a code of a diagnostic means, with an example and its cure",
        _explain,
        _options,
        ("graphrec explain", "graphrec explain GR502"),
    ),
)
