"""new: a recipe to start from, copied or proposed from data."""

from __future__ import annotations

import argparse
import os
import re

from graphrec.cli.command import (
    Command,
    Parser,
    UsageError,
    editor_schema,
    library_of,
    plugin_option,
    shared_options,
)
from graphrec.cli.console import Console
from graphrec.ground.text import write_text

__all__ = ["COMMANDS"]

_BESIDE = "recipe.schema.json"


def _new(args: argparse.Namespace, console: Console) -> int:
    _look_over(args)
    beside = args.output is not None and (args.schema or bool(args.plugins))
    schema = _BESIDE if beside else editor_schema(args.output)
    text = _copied(args.name, schema) if args.name is not None else _proposed(args, schema)
    if args.output is None:
        console.data({"recipe": text, "problems": []}) if console.json else console.write(text)
        return 0
    write_text(args.output, text)
    if beside:
        from graphrec.views.schema import as_text, recipe_schema

        path = os.path.join(os.path.dirname(args.output), _BESIDE)
        write_text(path, as_text(recipe_schema(library_of(args))))
    from graphrec.compiler.pipeline import check_recipe

    checked = check_recipe(args.output, library=library_of(args))
    console.problems(checked.problems, checked.reading.sources)
    console.remark(f"wrote {args.output}; now: graphrec train {args.output}")
    return 2 if checked.errors else 0


def _look_over(args: argparse.Namespace) -> None:
    if (args.name is None) == (args.data is None):
        raise UsageError("give the name of a shipped recipe, or --from FILES", args.usage)
    if args.data is not None and not args.labels:
        raise UsageError("--from needs --label COLUMN: what shall be predicted", args.usage)
    if args.name is not None and (args.labels or args.tasks):
        raise UsageError("--label and --task go with --from", args.usage)
    if args.output is not None and os.path.exists(args.output) and not args.force:
        what = f"{args.output} is there already: another name, or --force to write over it"
        raise UsageError(what, args.usage)


def _copied(name: str, schema: str) -> str:
    from pathlib import Path

    from graphrec.blocks.library import shipped
    from graphrec.importers.from_data import copied
    from graphrec.views.catalog import recipe_text

    recipe_text(name)  # an unknown name is told with the names there are
    return copied(Path(shipped("recipes")) / f"{name}.yaml", schema)


def _proposed(args: argparse.Namespace, schema: str) -> str:
    from graphrec.importers.from_data import propose

    labels = [name.strip() for text in args.labels for name in text.split(",") if name.strip()]
    output = args.output or "recipe.yaml"
    return propose(
        args.data,
        list(dict.fromkeys(labels)),
        _kinds(args, labels),
        name=_name(output if args.output else args.data),
        folder=os.path.dirname(os.path.abspath(output)),
        schema=schema,
    )


def _kinds(args: argparse.Namespace, labels: list[str]) -> dict[str, str]:
    """`--task regression` for every label, `--task rating=regression` for one."""
    from graphrec.importers.from_data.label_columns import KINDS

    kinds: dict[str, str] = {}
    for text in args.tasks:
        label, _, kind = text.rpartition("=")
        if kind not in KINDS or (label and label not in labels):
            what = f"--task {text}: expected KIND or LABEL=KIND, KIND one of {', '.join(KINDS)}"
            raise UsageError(what, args.usage)
        kinds.update({label: kind} if label else dict.fromkeys(labels, kind))
    return kinds


def _name(path: str) -> str:
    from graphrec.recipe.names import node_name

    stem = os.path.basename(path).split(".")[0].lower()
    name = re.sub(r"[^a-z0-9_]+", "_", stem).strip("_")
    return name if node_name(name) is None else f"model_{name}".rstrip("_")


def _options(parser: Parser) -> None:
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="a shipped recipe to copy: graphrec recipes"
    )
    parser.add_argument(
        "--from",
        metavar="FILES",
        dest="data",
        help="propose a recipe for these Parquet or CSV files (a path or a glob in quotes)",
    )
    parser.add_argument(
        "--label",
        metavar="COLUMN",
        dest="labels",
        action="append",
        default=[],
        help="column to predict; several make a multi-task model",
    )
    parser.add_argument(
        "--task",
        metavar="[LABEL=]KIND",
        dest="tasks",
        action="append",
        default=[],
        help="binary, regression or multiclass, where it is not to be guessed",
    )
    parser.add_argument("-O", metavar="FILE", dest="output", help="write there, not to stdout")
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.add_argument(
        "--schema", action="store_true", help=f"write the editor's {_BESIDE} beside it, too"
    )
    plugin_option(parser)
    shared_options(parser)
    parser.set_defaults(usage=parser.format_usage().strip())


COMMANDS = (
    Command(
        "new",
        "start a recipe: copy a shipped one, or propose one from the columns of data",
        _new,
        _options,
        (
            "graphrec new deepfm -O my_recipe.yaml",
            "graphrec new --from data/train.parquet --label click -O my_recipe.yaml",
            "graphrec new --from 'data/*.csv' --label click,buy --task price=regression",
        ),
    ),
)
