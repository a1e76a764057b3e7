"""compile: the generated module as text."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from graphrec.cli.command import (
    Command,
    Parser,
    UsageError,
    recipe_options,
    settings_of,
    target_option,
)
from graphrec.cli.console import Console
from graphrec.ground.text import write_text

if TYPE_CHECKING:
    from graphrec.compiler.target import Purpose

__all__ = ["COMMANDS"]


def _compile(args: argparse.Namespace, console: Console) -> int:
    if args.check and args.output is None:
        raise UsageError("--check compares with a file: add -O FILE", args.usage)
    from graphrec.compiler.pipeline import compile_recipe

    purpose: Purpose = "inference" if args.inference else "train"
    compiled = compile_recipe(**settings_of(args), purpose=purpose)
    text = compiled.source.text
    if args.inference and not compiled.source.score:
        console.remark("no score(): it needs features with `side: user` and others without")
    if args.check:
        return _compare(args.output, text, console)
    if args.output is not None:
        write_text(args.output, text)
        console.remark(f"wrote {args.output}")
    if console.json:
        problems = [problem.as_json() for problem in compiled.problems]
        data = {"class": compiled.source.class_name, "source": text}
        console.data({"problems": problems, **({} if args.output else data)})
        return 0
    console.problems(compiled.problems)
    if args.output is None:
        console.result(text)
    return 0


def _compare(path: str, text: str, console: Console) -> int:
    from pathlib import Path

    from graphrec.ground.errors import Problem

    try:
        existing = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        existing = None
    if existing == text:
        console.problems([])
        console.remark(f"{path} is up to date")
        return 0
    what = "is missing" if existing is None else "is not what the recipe compiles to"
    help_text = "run the same command without --check"
    console.problems([Problem("GR004", f"{path} {what}", path=path, help=help_text)])
    return 2


def _options(parser: Parser) -> None:
    recipe_options(parser)
    target_option(parser)
    parser.add_argument("-O", metavar="FILE", dest="output", help="write there, not to stdout")
    parser.add_argument(
        "--inference",
        action="store_true",
        help="without what only training needs; where features say `side: user` or context, with "
        "score(request, candidates), which does a request's part once",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if FILE differs from the recipe"
    )
    parser.set_defaults(usage=parser.format_usage().strip())


COMMANDS = (
    Command(
        "compile",
        "print the generated torch module, or write it with -O",
        _compile,
        _options,
        (
            "graphrec compile deepfm",
            "graphrec compile my_recipe.yaml -O model.py",
            "graphrec compile my_recipe.yaml -O model.py --check",
            "graphrec compile shop --inference -O shop_serving.py",
        ),
    ),
)
