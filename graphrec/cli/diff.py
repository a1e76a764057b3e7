"""diff: what differs between two recipes, or what overrides change."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from graphrec.cli.command import (
    Command,
    Parser,
    UsageError,
    allowed_of,
    library_of,
    recipe_options,
    recipe_path,
)
from graphrec.cli.console import Console, colorful
from graphrec.ground.text import write_text

if TYPE_CHECKING:
    from graphrec.compiler.pipeline import Compiled

__all__ = ["COMMANDS"]


def _diff(args: argparse.Namespace, console: Console) -> int:
    from graphrec.views.diff import compare

    if args.other is None and not args.overrides:
        raise UsageError("a second recipe is missing, or -o to see what it changes", args.usage)
    runs = [text for text in (args.recipe, args.other) if text and _is_run(text)]
    if args.format == "curves":
        return _curves(args, runs, console)
    before = _compiled(args, args.recipe, overridden=args.other is not None)
    after = _compiled(args, args.other or args.recipe, overridden=True)
    difference = compare((before.recipe, before.graph), (after.recipe, after.graph))
    if args.format == "json":
        console.data(difference.as_json())
        return 0
    console.problems({*before.problems, *after.problems})
    if args.format == "text":
        text = difference.as_text(color=args.output is None and colorful(sys.stdout))
    elif args.format == "svg":
        from graphrec.views.pictures import diff_svg

        text = diff_svg(before.graph, after.graph, difference)
    else:
        from graphrec.views.describe import describe
        from graphrec.views.pictures import diff_html

        one, two = ((c.graph, describe(c.graph), c.recipe) for c in (before, after))
        text = diff_html(one, two, difference)
    if args.format == "text" and len(runs) == 2:
        from graphrec.train.history import compare_scores, past_run

        text += "\n" + compare_scores(*(past_run(Path(run)) for run in runs)) + "\n"
    return _written(text, args.output, console)


def _curves(args: argparse.Namespace, runs: list[str], console: Console) -> int:
    """The courses of two runs, which need no recipe to be compiled."""
    if len(runs) != 2:
        raise UsageError("--format curves compares two run folders", args.usage)
    from graphrec.train.history import curves_picture

    return _written(curves_picture([Path(run) for run in runs]), args.output, console)


def _written(text: str, output: str | None, console: Console) -> int:
    if output is None:
        console.result(text)
        return 0
    write_text(output, text)
    console.remark(f"wrote {output}")
    return 0


def _is_run(text: str) -> bool:
    """Whether a run folder is meant: its recipe is compared, and of two runs the scores too."""
    return (Path(text) / "run.json").is_file()


def _compiled(args: argparse.Namespace, recipe: str, *, overridden: bool) -> Compiled:
    from graphrec.compiler.pipeline import compile_recipe

    return compile_recipe(
        str(Path(recipe) / "recipe.yaml") if _is_run(recipe) else recipe_path(recipe),
        overrides=args.overrides if overridden else (),
        library=library_of(args),
        **allowed_of(args),
    )


def _options(parser: Parser) -> None:
    recipe_options(parser, formats=("text", "json", "html", "svg", "curves"))
    parser.add_argument(
        "other",
        metavar="OTHER",
        nargs="?",
        help="the second recipe; without it, RECIPE as -o changes it (else -o goes for both)",
    )
    parser.add_argument("-O", metavar="FILE", dest="output", help="write there, not to stdout")
    parser.set_defaults(usage=parser.format_usage().strip())


COMMANDS = (
    Command(
        "diff",
        "tell what differs between two recipes or runs, as text or in the picture",
        _diff,
        _options,
        (
            "graphrec diff dbmtl dbmtl_masknet",
            "graphrec diff shop -o features.brand.dim=8",
            "graphrec diff runs/shop runs/shop-2",
            "graphrec diff runs/shop runs/shop-2 --format curves -O curves.svg",
            "graphrec diff deepfm dcn_v2 --format html -O diff.html",
        ),
    ),
)
