"""check: everything wrong with a recipe, found without data and without torch."""

from __future__ import annotations

import argparse

from graphrec.cli.command import Command, Parser, recipe_options, settings_of, target_option
from graphrec.cli.console import Console

__all__ = ["COMMANDS"]


def _check(args: argparse.Namespace, console: Console) -> int:
    from graphrec.compiler.pipeline import check_recipe

    settings = settings_of(args)
    checked = check_recipe(**settings)
    console.problems(checked.problems, checked.reading.sources)
    errors, warnings = len(checked.errors), len(checked.problems) - len(checked.errors)
    if errors:
        console.remark(_counted(errors, "error") + _and(warnings))
        return 2
    if not console.json and not console.quiet and checked.graph is not None:
        graph = checked.graph
        parts = [f"{len(graph.nodes)} nodes", f"{len(graph.tables)} tables"]
        tasks = ", ".join(output.task for output in graph.outputs)
        parts += ["finds items"] if graph.vectors else []
        parts += [f"predicts {tasks}"] if tasks else []
        holds = f"fine ({', '.join(parts)})" + _and(warnings)
        console.result(f"{settings['path']}: {holds}")
    return 0


def _and(warnings: int) -> str:
    return f", {_counted(warnings, 'warning')}" if warnings else ""


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _options(parser: Parser) -> None:
    recipe_options(parser)
    target_option(parser)
    parser.set_defaults(usage=parser.format_usage().strip())


COMMANDS = (
    Command(
        "check",
        "find everything wrong with a recipe; reads no data, needs no torch",
        _check,
        _options,
        ("graphrec check my_recipe.yaml", "graphrec check shop -o train.batch=512 --format json"),
    ),
)
