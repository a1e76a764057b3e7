"""import: a config of another system as a recipe."""

from __future__ import annotations

import argparse

from graphrec.cli.command import Command, Parser, editor_schema, shared_options
from graphrec.cli.console import Console, write_file

__all__ = ["COMMANDS"]


def _import(args: argparse.Namespace, console: Console) -> int:
    from graphrec.importers.tzrec import import_config

    imported = import_config(args.config, editor_schema(args.output))
    if args.output is not None:
        write_file(args.output, imported.text)
    if console.json:
        problems = [problem.as_json() for problem in imported.problems]
        made = {} if args.output else {"recipe": imported.text}
        console.data({"problems": problems, **made})
        return 0
    console.problems(imported.problems)
    if args.output is None:
        console.write(imported.text)
    else:
        number = len(imported.problems)
        told = f", {number} remark{'s' * (number != 1)} in its head" if number else ""
        console.remark(f"wrote {args.output}{told}; now: graphrec check {args.output}")
    return 0


def _options(parser: Parser) -> None:
    parser.add_argument("config", metavar="FILE", help="a TorchEasyRec config (protobuf text)")
    parser.add_argument(
        "-O", "--output", metavar="FILE", help="write the recipe there instead of to stdout"
    )
    shared_options(parser)


COMMANDS = (
    Command(
        "import",
        "turn a TorchEasyRec config into a recipe, and tell what has no counterpart",
        _import,
        _options,
        ("graphrec import deepfm_criteo.config -O deepfm_criteo.yaml",),
    ),
)
