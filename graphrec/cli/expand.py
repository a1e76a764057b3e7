"""expand: the recipe in full, with where each value came from."""

from __future__ import annotations

import argparse

from graphrec.cli.command import Command, Parser, allowed_of, recipe_options, recipe_path
from graphrec.cli.console import Console

__all__ = ["COMMANDS"]


def _expand(args: argparse.Namespace, console: Console) -> int:
    from graphrec.recipe import canonical, read_recipe

    recipe = read_recipe(recipe_path(args.recipe), args.overrides, **allowed_of(args))
    if console.json:
        plain = recipe.model_dump(mode="json", by_alias=True, exclude={"origin"})
        console.data({"recipe": plain, "problems": []})
        return 0
    console.result(canonical(recipe, origin=args.origin))
    return 0


def _options(parser: Parser) -> None:
    recipe_options(parser)
    parser.add_argument(
        "--origin", action="store_true", help="say behind every value which file and line gave it"
    )


COMMANDS = (
    Command(
        "expand",
        "print the recipe in full: what it extends, defaults, short forms written out",
        _expand,
        _options,
        ("graphrec expand shop", "graphrec expand shop --origin -o train.lr=2e-3"),
    ),
)
