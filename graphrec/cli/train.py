"""train: from a recipe to a run folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from graphrec.cli.command import (
    Command,
    Parser,
    compiled_for,
    device_option,
    positive,
    recipe_options,
    run_data,
    whole,
)
from graphrec.cli.console import Console, lasting_streams

if TYPE_CHECKING:
    from graphrec.train.run import Run

__all__ = ["COMMANDS"]


def _train(args: argparse.Namespace, console: Console) -> int:
    from graphrec.distributed.rank_environment import launched
    from graphrec.train.process import prepare_process

    prepare_process()
    if launched():
        from graphrec.cli.ranks import as_rank

        return as_rank(args, console)
    compiled = compiled_for(args, args.nproc or 1)
    if args.nproc is not None:
        from graphrec.distributed.launch import Launch, launch
        from graphrec.distributed.refusals import refuse

        refuse(compiled.recipe, compiled.graph, compiled.device)
        return launch(Launch(args.nproc, args.max_restarts), args.words)
    if not console.json:
        console.problems(compiled.problems)
    from graphrec.train.loop import train

    road: Callable[..., Run] = train
    if compiled.device == "cuda":
        from graphrec.distributed.alone import train_alone, why_not_alone

        why = why_not_alone(compiled)
        if why is None:
            road = train_alone
        else:
            console.remark(f"tables with torch's sparse gradients, which are slower: {why}")
    command, plugins = ["graphrec", *args.words], tuple(args.plugins)
    with lasting_streams():  # a reader that has gone, or a full log, is no reason to stop
        run = road(compiled, console=console, run_dir=args.run, command=command, plugins=plugins)
        if console.json:
            console.data(run_data(run, compiled))
    return 0


def _options(parser: Parser) -> None:
    recipe_options(parser)
    device_option(parser)
    parser.add_argument("--run", metavar="DIR", help="run folder (default: runs/<name>)")
    group = parser.add_argument_group("many processes (docs/scaling.md)")
    group.add_argument(
        "--nproc",
        metavar="N",
        type=positive,
        help="train on N processes of this machine; over several machines use torchrun",
    )
    group.add_argument(
        "--max-restarts",
        metavar="N",
        type=whole,
        default=0,
        help="how often they are started again, from the last checkpoint, when one is lost",
    )
    group.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive,
        default=120,
        help="end the job when one of them does not answer for so long (default: 120)",
    )
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
            "graphrec train shop -o data.synthetic=50_000 --nproc 2",
        ),
    ),
)
