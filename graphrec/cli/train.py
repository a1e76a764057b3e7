"""train: from a recipe to a run folder."""

from __future__ import annotations

import argparse

from graphrec.cli.command import (
    Command,
    Parser,
    device_option,
    recipe_options,
    settings_of,
)
from graphrec.cli.console import Console, lasting_streams

__all__ = ["COMMANDS"]


def _train(args: argparse.Namespace, console: Console) -> int:
    from graphrec.compiler.memory import available
    from graphrec.train.device import compile_for
    from graphrec.train.process import prepare_process

    prepare_process()
    settings = settings_of(args)
    compiled = compile_for(**{**settings, "max_memory": settings["max_memory"] or available()})
    if not console.json:
        console.problems(compiled.problems)
    from graphrec.train.loop import train

    command, plugins = ["graphrec", *args.words], tuple(args.plugins)
    with lasting_streams():  # a reader that has gone, or a full log, is no reason to stop
        run = train(compiled, console=console, run_dir=args.run, command=command, plugins=plugins)
        if console.json:
            problems = [problem.as_json() for problem in compiled.problems]
            evaluated = [record for record in run.records if record.get("kind") == "eval"]
            last = evaluated[-1] if evaluated else None
            console.data({"run": str(run.folder), "eval": last, "problems": problems})
    return 0


def _options(parser: Parser) -> None:
    recipe_options(parser)
    device_option(parser)
    parser.add_argument("--run", metavar="DIR", help="run folder (default: runs/<name>)")
    parser.set_defaults(usage=parser.format_usage().strip())


COMMANDS = (
    Command(
        "train",
        "train a recipe: metrics, checkpoints and a report in a run folder",
        _train,
        _options,
        (
            "graphrec train shop -o data.synthetic=50_000",
            "graphrec train my_recipe.yaml -o data.train='logs/*.parquet' -o train.epochs=2",
        ),
    ),
)
