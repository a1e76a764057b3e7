"""explain: what a diagnostic, or a word of the language, means, with an example."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

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
        return _word(args.code, titles(), console)
    if console.json:
        console.data({"code": code, "title": titles()[code], "text": page(code)})
    else:
        console.result(page(code))
    return 0


def _word(word: str, codes: Iterable[str], console: Console) -> int:
    from graphrec.views.reference.entries import as_text, word_entry, words

    entry = word_entry(word)
    if entry is None:
        raise unknown(word, [*codes, *words()], "code or word", "GR001")
    if console.json:
        console.data({"word": word, "text": as_text(entry)})
    else:
        console.result(as_text(entry))
    return 0


def _options(parser: Parser) -> None:
    help = "a code such as GR502, or a word of the language: carry, cos, din, early_stop"
    parser.add_argument("code", metavar="CODE", nargs="?", help=help)
    shared_options(parser)


COMMANDS = (
    Command(
        "explain",
        "tell what a code of a diagnostic, or a word of the language, means, with an example",
        _explain,
        _options,
        ("graphrec explain", "graphrec explain GR502", "graphrec explain carry"),
    ),
)
