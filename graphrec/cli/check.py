"""check, describe, expand: what a recipe says, and whether it holds."""

from __future__ import annotations

import argparse

from graphrec.cli.command import Command, Parser, library_of, memory_of, recipe_options, recipe_path
from graphrec.cli.console import Console

__all__ = ["COMMANDS"]


def _check(args: argparse.Namespace, console: Console) -> int:
    from graphrec.compiler.pipeline import check_recipe

    path = recipe_path(args.recipe)
    checked = check_recipe(
        path,
        overrides=args.overrides,
        library=library_of(args),
        allow_root=args.allow_root,
        max_memory=memory_of(args),
    )
    console.problems(checked.problems, checked.reading.sources)
    errors, warnings = len(checked.errors), len(checked.problems) - len(checked.errors)
    if errors:
        console.remark(_counted(errors, "error") + _and(warnings))
        return 2
    if not console.json and not console.quiet and checked.graph is not None:
        graph = checked.graph
        parts = [f"{len(graph.nodes)} nodes", f"{len(graph.tables)} tables"]
        tasks = ", ".join(output.task for output in graph.outputs)
        console.result(f"{path}: fine ({', '.join(parts)}, predicts {tasks})" + _and(warnings))
    return 0


def _and(warnings: int) -> str:
    return f", {_counted(warnings, 'warning')}" if warnings else ""


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _describe(args: argparse.Namespace, console: Console) -> int:
    from graphrec.compiler.pipeline import compile_recipe
    from graphrec.views.describe import describe
    from graphrec.views.flops import history_lengths, measure

    compiled = compile_recipe(
        recipe_path(args.recipe),
        overrides=args.overrides,
        library=library_of(args),
        allow_root=args.allow_root,
        max_memory=memory_of(args),
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


def _expand(args: argparse.Namespace, console: Console) -> int:
    from graphrec.recipe import canonical, read_recipe

    recipe = read_recipe(recipe_path(args.recipe), args.overrides, allow_root=args.allow_root)
    if console.json:
        plain = recipe.model_dump(mode="json", by_alias=True, exclude={"origin"})
        console.data({"recipe": plain, "problems": []})
        return 0
    console.result(canonical(recipe, origin=args.origin))
    return 0


def _describe_options(parser: Parser) -> None:
    recipe_options(parser)
    parser.add_argument(
        "--inference",
        action="store_true",
        help="as it is compiled for inference: which nodes run once per request",
    )
    parser.set_defaults(usage=parser.format_usage().strip())


def _expand_options(parser: Parser) -> None:
    recipe_options(parser)
    parser.add_argument(
        "--origin", action="store_true", help="say behind every value which file and line gave it"
    )


COMMANDS = (
    Command(
        "check",
        "find everything wrong with a recipe; reads no data, needs no torch",
        _check,
        recipe_options,
        ("graphrec check my_recipe.yaml", "graphrec check shop -o train.batch=512 --format json"),
    ),
    Command(
        "describe",
        "list nodes, shapes, parameters, FLOPs, tables and kernels",
        _describe,
        _describe_options,
        (
            "graphrec describe deepfm",
            "graphrec describe shop -o kernels.default=triton",
            "graphrec describe shop --inference",
        ),
    ),
    Command(
        "expand",
        "print the recipe in full: what it extends, defaults, short forms written out",
        _expand,
        _expand_options,
        ("graphrec expand shop", "graphrec expand shop --origin -o train.lr=2e-3"),
    ),
)
