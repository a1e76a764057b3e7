"""keys: every key of a recipe, with type, default, meaning and an example."""

from __future__ import annotations

import argparse

from graphrec.cli.command import Command, Parser, shared_options, unknown
from graphrec.cli.console import Console

__all__ = ["COMMANDS"]


def _keys(args: argparse.Namespace, console: Console) -> int:
    from graphrec.views.reference.entries import as_text, key_entries, key_entry
    from graphrec.views.reference.examples import key_example
    from graphrec.views.reference.settings import settings

    chosen = settings() if args.path is None else key_entries(args.path)
    if not chosen:
        names = [setting.path for setting in settings()]
        raise unknown(args.path, names, "key", "GR201")
    if console.json:
        console.data([{**vars(s), "example": key_example(s.path)} for s in chosen])
    elif args.path is None:
        from graphrec.ground.text import aligned

        console.result(aligned([[s.path, s.facts] for s in chosen]))
    else:
        console.result("\n".join(as_text(key_entry(setting)) for setting in chosen))
    return 0


def _options(parser: Parser) -> None:
    parser.add_argument("path", metavar="PATH", nargs="?", help="such as train.schedule, or carry")
    shared_options(parser)


COMMANDS = (
    Command(
        "keys",
        "list the keys of a recipe, or tell about one: type, default, meaning, an example",
        _keys,
        _options,
        ("graphrec keys", "graphrec keys train.schedule", "graphrec keys features.id.vocab"),
    ),
)
