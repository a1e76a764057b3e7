"""schema: the JSON schema of recipes, for completion in an editor."""

from __future__ import annotations

import argparse

from graphrec.cli.command import Command, Parser, library_of, plugin_option, shared_options
from graphrec.cli.console import Console

__all__ = ["COMMANDS"]


def _schema(args: argparse.Namespace, console: Console) -> int:
    from graphrec.views.schema import as_text, block_schema, recipe_schema

    make = block_schema if args.what == "block" else recipe_schema
    console.write(as_text(make(library_of(args))))
    return 0


def _options(parser: Parser) -> None:
    parser.add_argument(
        "what",
        metavar="WHAT",
        nargs="?",
        choices=("recipe", "block"),
        default="recipe",
        help="recipe (default), or block: a file of a composite block",
    )
    plugin_option(parser)
    shared_options(parser)


COMMANDS = (
    Command(
        "schema",
        "print the JSON schema of recipes, for completion in an editor",
        _schema,
        _options,
        ("graphrec schema > recipe.schema.json", "graphrec schema block --plugin my_blocks"),
    ),
)
