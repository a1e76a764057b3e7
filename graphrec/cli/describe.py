"""describe: nodes, shapes, parameters, FLOPs, tables, and the kernels that were chosen."""

from __future__ import annotations

import argparse

from graphrec.cli.command import (
    Command,
    Parser,
    recipe_options,
    settings_of,
    target_option,
)
from graphrec.cli.console import Console

__all__ = ["COMMANDS"]


def _describe(args: argparse.Namespace, console: Console) -> int:
    from graphrec.compiler.pipeline import compile_recipe
    from graphrec.views.describe import describe
    from graphrec.views.flops import history_lengths, measure

    compiled = compile_recipe(
        **settings_of(args),
        purpose="inference" if args.inference else "train",
    )
    costs, remarks = measure(compiled)
    lengths = history_lengths(compiled.recipe)
    description = describe(compiled.graph, costs, lengths=lengths, remarks=remarks)
    if console.json:
        problems = [problem.as_json() for problem in compiled.problems]
        console.data({**description.as_json(), "problems": problems})
        return 0
    console.problems(compiled.problems)
    console.result(description.as_text())
    return 0


def _options(parser: Parser) -> None:
    recipe_options(parser)
    target_option(parser)
    parser.add_argument(
        "--inference",
        action="store_true",
        help="as it is compiled for inference: which nodes run once per request",
    )
    parser.set_defaults(usage=parser.format_usage().strip())


COMMANDS = (
    Command(
        "describe",
        "list nodes, shapes, parameters, FLOPs, tables and kernels",
        _describe,
        _options,
        (
            "graphrec describe deepfm",
            "graphrec describe shop -o kernels.default=triton",
            "graphrec describe shop --inference",
        ),
    ),
)
