"""recipes: what ships with graphrec."""

from __future__ import annotations

import argparse

from graphrec.cli.command import Command, Parser, shared_options
from graphrec.cli.console import Console

__all__ = ["COMMANDS"]


def _recipes(args: argparse.Namespace, console: Console) -> int:
    from graphrec.views.catalog import recipe_text, shipped_recipes

    if args.name is not None:
        text = recipe_text(args.name)
        console.data({"name": args.name, "text": text}) if console.json else console.write(text)
        return 0
    recipes = shipped_recipes()
    if console.json:
        console.data(
            [{"name": r.name, "description": r.description, "path": r.path} for r in recipes]
        )
        return 0
    from graphrec.ground.text import aligned

    console.result(aligned([[recipe.name, recipe.description] for recipe in recipes]))
    return 0


def _options(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="print this recipe's text")
    shared_options(parser)


COMMANDS = (
    Command(
        "recipes",
        "list the recipes that come with graphrec, or print one",
        _recipes,
        _options,
        ("graphrec recipes", "graphrec recipes deepfm > my_recipe.yaml"),
    ),
)
