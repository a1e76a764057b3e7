"""train, evaluate: from a recipe to a run folder, and its scores."""

from __future__ import annotations

import argparse

from graphrec.cli.command import (
    Command,
    Parser,
    library_of,
    memory_of,
    plugin_option,
    recipe_options,
    recipe_path,
    share_the_cores,
    shared_options,
)
from graphrec.cli.console import Console

__all__ = ["COMMANDS"]


def _train(args: argparse.Namespace, console: Console) -> int:
    from graphrec.compiler.memory import available
    from graphrec.compiler.pipeline import compile_recipe

    compiled = compile_recipe(
        recipe_path(args.recipe),
        overrides=args.overrides,
        library=library_of(args),
        allow_root=args.allow_root,
        max_memory=memory_of(args) or available(),
    )
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
        problems = [problem.as_json() for problem in compiled.problems]
        evaluated = [record for record in run.records if record.get("kind") == "eval"]
        last = evaluated[-1] if evaluated else None
        console.data({"run": str(run.folder), "eval": last, "problems": problems})
    return 0


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
