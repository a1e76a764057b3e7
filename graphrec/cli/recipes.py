"""recipes, blocks, schema, explain: what comes with graphrec."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from graphrec.cli.command import Command, Parser, library_of, plugin_option, shared_options
from graphrec.cli.console import Console

if TYPE_CHECKING:
    from graphrec.errors import RecipeError

__all__ = ["COMMANDS"]


def _recipes(args: argparse.Namespace, console: Console) -> int:
    from graphrec.views.catalog import recipe_text, shipped_recipes

    if args.name is not None:
        text = recipe_text(args.name)
        console.data({"name": args.name, "text": text}) if console.json else console.write(text)
        return 0
    found = shipped_recipes()
    if console.json:
        console.data(
            [{"name": r.name, "description": r.description, "path": r.path} for r in found]
        )
        return 0
    from graphrec.text import aligned

    console.result(aligned([[recipe.name, recipe.description] for recipe in found]))
    return 0


def _blocks(args: argparse.Namespace, console: Console) -> int:
    from graphrec.views.catalog import about_block

    library = library_of(args)
    if args.name is None:
        pages = [about_block(library, name) for name in library.names]
        if console.json:
            console.data([page.as_json() for page in pages])
            return 0
        from graphrec.text import aligned

        rows = [[page.name, page.ports_text(), page.summary()] for page in pages]
        console.result(aligned(rows))
        return 0
    if args.name not in library:
        raise _unknown(args.name, library.names, "block", "GR305")
    page = about_block(library, args.name)
    if console.json:
        console.data(page.as_json())
    else:
        console.result(page.as_text())
    return 0


def _schema(args: argparse.Namespace, console: Console) -> int:
    from graphrec.views.schema import as_text, block_schema, recipe_schema

    make = block_schema if args.what == "block" else recipe_schema
    console.write(as_text(make(library_of(args))))
    return 0


def _explain(args: argparse.Namespace, console: Console) -> int:
    from graphrec.views.explain import page, titles

    if args.code is None:
        found = titles()
        if console.json:
            console.data(found)
            return 0
        from graphrec.text import aligned

        console.result(aligned([[code, title] for code, title in found.items()]))
        return 0
    code = args.code.upper()
    if code not in titles():
        raise _unknown(args.code, titles(), "code", "GR001")
    if console.json:
        made: dict[str, Any] = {"code": code, "title": titles()[code], "text": page(code)}
        console.data(made)
    else:
        console.result(page(code))
    return 0


def _unknown(name: str, known: Any, what: str, code: str) -> RecipeError:
    from graphrec.errors import Problem, RecipeError, suggestion

    return RecipeError(Problem(code, f"no {what} `{name}`", help=suggestion(name, known, 40)))


def _recipe_options(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="print this recipe's text")
    shared_options(parser)


def _block_options(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="tell all about this block")
    plugin_option(parser)
    shared_options(parser)


def _schema_options(parser: Parser) -> None:
    parser.add_argument(
        "what",
        metavar="WHAT",
        nargs="?",
        choices=("recipe", "block"),
        default="recipe",
        help="recipe (default), or block: a file of a composite block",
    )
    plugin_option(parser)
    shared_options(parser)


def _explain_options(parser: Parser) -> None:
    parser.add_argument("code", metavar="CODE", nargs="?", help="such as GR502")
    shared_options(parser)


COMMANDS = (
    Command(
        "recipes",
        "list the recipes that come with graphrec, or print one",
        _recipes,
        _recipe_options,
        ("graphrec recipes", "graphrec recipes deepfm > my_recipe.yaml"),
    ),
    Command(
        "blocks",
        "list the blocks, or tell all about one: ports, parameters, kernels",
        _blocks,
        _block_options,
        ("graphrec blocks", "graphrec blocks mmoe", "graphrec blocks gated --plugin my_blocks"),
    ),
    Command(
        "schema",
        "print the JSON schema of recipes, for completion in an editor",
        _schema,
        _schema_options,
        ("graphrec schema > recipe.schema.json", "graphrec schema block --plugin my_blocks"),
    ),
    Command(
        "explain",
        "tell what a code of a diagnostic means, with an example and its cure",
        _explain,
        _explain_options,
        ("graphrec explain", "graphrec explain GR502"),
    ),
)
