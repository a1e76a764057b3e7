"""blocks: the blocks there are, their ports, parameters and kernels."""

from __future__ import annotations

import argparse

from graphrec.cli.command import Command, Parser, library_of, plugin_option, shared_options, unknown
from graphrec.cli.console import Console

__all__ = ["COMMANDS"]


def _blocks(args: argparse.Namespace, console: Console) -> int:
    from graphrec.views.catalog import about_block, block_facts

    library = library_of(args)
    if args.name is None:
        pages = [block_facts(library, name) for name in library.names]
        if console.json:
            console.data([page.as_json() for page in pages])
            return 0
        from graphrec.ground.text import aligned

        rows = [[page.name, page.ports_text(), page.summary()] for page in pages]
        console.result(aligned(rows))
        return 0
    if args.name not in library:
        raise unknown(args.name, library.names, "block", "GR305")
    page = about_block(library, args.name)
    if console.json:
        console.data(page.as_json())
    else:
        console.result(page.as_text())
    return 0


def _options(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="tell all about this block")
    plugin_option(parser)
    shared_options(parser)


COMMANDS = (
    Command(
        "blocks",
        "list the blocks, or tell all about one: ports, parameters, kernels",
        _blocks,
        _options,
        ("graphrec blocks", "graphrec blocks mmoe", "graphrec blocks gated --plugin my_blocks"),
    ),
)
