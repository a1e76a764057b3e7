"""import: a config of another system as a recipe."""

from __future__ import annotations

import argparse
import os

from graphrec.cli.command import Command, Parser, editor_schema, shared_options
from graphrec.cli.console import Console
from graphrec.ground.text import write_text

__all__ = ["COMMANDS"]


def _import(args: argparse.Namespace, console: Console) -> int:
    from graphrec.importers.configs import import_config

    imported = import_config(args.config, editor_schema(args.output))
    if args.output is not None:
        write_text(args.output, imported.text)
        for name, text in imported.files.items():
            write_text(os.path.join(os.path.dirname(args.output), name), text)
    if console.json:
        problems = [problem.as_json() for problem in imported.problems]
        texts = {} if args.output else {"recipe": imported.text, "files": dict(imported.files)}
        console.data({"problems": problems, **texts})
        return 0
    console.problems(imported.problems)
    if args.output is None:
        console.write(imported.text)
        if imported.files:
            names = ", ".join(imported.files)
            console.remark(f"the recipe names {names}: -O FILE writes them beside it")
    else:
        number = len(imported.problems)
        told = f", {number} remark{'s' * (number != 1)} in its head" if number else ""
        beside = f"; vocab_list in {', '.join(imported.files)} beside it" if imported.files else ""
        console.remark(f"wrote {args.output}{told}{beside}; now: graphrec check {args.output}")
    return 0


def _options(parser: Parser) -> None:
    parser.add_argument(
        "config", metavar="FILE", help="a config of TorchEasyRec or EasyRec (protobuf text)"
    )
    parser.add_argument(
        "-O", "--output", metavar="FILE", help="write the recipe there instead of to stdout"
    )
    shared_options(parser)


COMMANDS = (
    Command(
        "import",
        "turn a config of TorchEasyRec or EasyRec into a recipe; tells what is lost",
        _import,
        _options,
        ("graphrec import deepfm_criteo.config -O deepfm_criteo.yaml",),
    ),
)
