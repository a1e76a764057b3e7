"""train, evaluate: from a recipe to a run folder, and its scores."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from graphrec.cli.command import (
    Command,
    Parser,
    library_of,
    memory_of,
    plugin_option,
    positive,
    recipe_options,
    recipe_path,
    share_the_cores,
    shared_options,
    whole,
)
from graphrec.cli.console import Console

if TYPE_CHECKING:
    from graphrec.compiler.pipeline import Compiled
    from graphrec.train.run import Run

__all__ = ["COMMANDS", "run_data"]


def _train(args: argparse.Namespace, console: Console) -> int:
    from graphrec.distributed.environment import launched

    if launched():
        from graphrec.cli.ranks import as_rank

        return as_rank(args, console)
    compiled = _compiled(args)
    if args.nproc is not None:
        from graphrec.distributed.launch import Launch, launch

        return launch(Launch(args.nproc, args.max_restarts), args.words)
    if not console.json:
        console.problems(compiled.problems)
    # After compiling: a mistake in the recipe is told before torch is loaded.
    share_the_cores()
    from graphrec.train.loop import train

    command = ["graphrec", *args.words]
    run = train(
        compiled, console=console, run_dir=args.run, command=command, plugins=tuple(args.plugins)
    )
    if console.json:
        console.data(run_data(run, compiled))
    return 0


def _compiled(args: argparse.Namespace) -> Compiled:
    from graphrec.compiler.memory import available
    from graphrec.compiler.pipeline import compile_recipe

    return compile_recipe(
        recipe_path(args.recipe),
        overrides=args.overrides,
        library=library_of(args),
        allow_root=args.allow_root,
        max_memory=memory_of(args) or available(),
    )


def run_data(run: Run, compiled: Compiled) -> dict[str, object]:
    """What `train --format json` prints."""
    problems = [problem.as_json() for problem in compiled.problems]
    evaluated = [record for record in run.records if record.get("kind") == "eval"]
    last = evaluated[-1] if evaluated else None
    return {"run": str(run.folder), "eval": last, "problems": problems}


def _evaluate(args: argparse.Namespace, console: Console) -> int:
    library = library_of(args)
    share_the_cores()
    from graphrec.train.evaluate import evaluate

    record = evaluate(args.run, args.data or None, args.checkpoint, library=library)
    if console.json:
        console.data(record)
        return 0
    from graphrec.text import aligned

    console.result(aligned([[key, _shown(value)] for key, value in record.items()]))
    return 0


def _shown(value: object) -> str:
    if value is None:
        return "not available"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _train_options(parser: Parser) -> None:
    recipe_options(parser)
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


def _evaluate_options(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="the folder that `graphrec train` made")
    parser.add_argument(
        "--data", metavar="GLOB", action="append", help="other files than the run's evaluation data"
    )
    parser.add_argument(
        "--checkpoint", metavar="WHICH", help="best, last or a step (default: the best there is)"
    )
    plugin_option(parser)
    shared_options(parser)


COMMANDS = (
    Command(
        "train",
        "train a recipe: metrics, checkpoints and a report in a run folder",
        _train,
        _train_options,
        (
            "graphrec train shop -o data.synthetic=50_000",
            "graphrec train my_recipe.yaml -o data.train='logs/*.parquet' -o train.epochs=2",
            "graphrec train shop -o data.synthetic=50_000 --nproc 2",
        ),
    ),
    Command(
        "evaluate",
        "score a run's checkpoint on its evaluation data, or on other files",
        _evaluate,
        _evaluate_options,
        ("graphrec evaluate runs/shop", "graphrec evaluate runs/shop --data 'may/*.parquet'"),
    ),
)
