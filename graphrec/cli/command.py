"""What a command is, and the options that several commands share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from graphrec.cli.console import Console

if TYPE_CHECKING:
    from graphrec.blocks.library import Library
    from graphrec.compiler.pipeline import Compiled
    from graphrec.ground.errors import RecipeError
    from graphrec.train.run import Run

__all__ = [
    "checkpoint_option",
    "compiled_for",
    "keep_option",
    "run_argument",
    "run_data",
    "Command",
    "Parser",
    "UsageError",
    "allowed_of",
    "device_option",
    "editor_schema",
    "library_of",
    "names_of",
    "plugin_option",
    "positive",
    "recipe_options",
    "recipe_path",
    "settings_of",
    "shared_options",
    "size",
    "target_option",
    "unknown",
    "whole",
]


class UsageError(Exception):
    """A command line that can't be read; `usage` is the short form of how to write it."""

    def __init__(self, message: str, usage: str) -> None:
        super().__init__(message)
        self.usage = usage


class Parser(argparse.ArgumentParser):
    """argparse without abbreviations, raising `UsageError` so that mistakes have one form."""

    def __init__(self, **settings: object) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **settings,  # type: ignore[arg-type]
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self.format_usage().strip())


@dataclass(frozen=True)
class Command:
    """One sub-command: its line of help, its options, what it does, and examples of use."""

    name: str
    help: str
    run: Callable[[argparse.Namespace, Console], int]
    configure: Callable[[Parser], None]
    examples: tuple[str, ...] = ()


def shared_options(parser: Parser, formats: tuple[str, ...] = ("text", "json")) -> None:
    """Options every command has."""
    group = parser.add_argument_group("everywhere")
    group.add_argument("--format", choices=formats, default=formats[0], help="form of the output")
    group.add_argument("--quiet", action="store_true", help="results and errors only")


def recipe_options(parser: Parser, formats: tuple[str, ...] = ("text", "json")) -> None:
    """The recipe, and everything that changes how it is read."""
    parser.add_argument("recipe", metavar="RECIPE", help="a file, or the name of a shipped recipe")
    parser.add_argument(
        "-o",
        metavar="PATH=VALUE",
        dest="overrides",
        action="append",
        default=[],
        help="set one value of the recipe: -o train.batch=512 (may be repeated)",
    )
    plugin_option(parser)
    parser.add_argument(
        "--allow-root",
        metavar="DIR",
        help="folder that `extends` and `file()` may read from (default: the recipe's own)",
    )
    parser.add_argument(
        "--allow-env",
        metavar="NAME",
        action="append",
        default=[],
        help="environment variable that `$env.NAME` may read (may be repeated)",
    )
    parser.add_argument(
        "--max-memory",
        metavar="SIZE",
        help="refuse a model that needs more, e.g. 8G (train: 80 %% of the machine's memory)",
    )
    parser.set_defaults(usage=parser.format_usage().strip())
    shared_options(parser, formats)


def run_argument(parser: Parser) -> None:
    """The run folder that a command reads."""
    parser.add_argument("run", metavar="RUN", help="the folder that `graphrec train` made")


def checkpoint_option(parser: Parser) -> None:
    """Which of the run's checkpoints is meant."""
    parser.add_argument(
        "--checkpoint", metavar="WHICH", help="best, last or a step (default: the best there is)"
    )


def keep_option(parser: Parser) -> None:
    """Columns of the data that results carry: `names_of` reads them."""
    parser.add_argument(
        "--keep",
        metavar="COLUMN",
        action="append",
        default=[],
        help="columns of the data to carry over: --keep user_id,item_id (may be repeated)",
    )


def names_of(texts: Iterable[str]) -> tuple[str, ...]:
    """`--keep a,b --keep c`: each name once, in the order given."""
    return tuple(dict.fromkeys(name.strip() for text in texts for name in text.split(",")))


def target_option(parser: Parser) -> None:
    """The device to choose kernels for, which need not be here."""
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda", "auto"),
        help="choose kernels for it (default: the recipe's train.device, else cpu; auto: cuda if"
        " there is one here)",
    )


def device_option(parser: Parser, default: str = "the recipe's train.device") -> None:
    """The device to run on, which must be here."""
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda", "auto"),
        help=f"where to run (default: {default}; auto: cuda if there is one)",
    )


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the options of `recipe_options` and `--device` say to `compile_recipe`."""
    return {
        "path": recipe_path(args.recipe),
        "overrides": args.overrides,
        "library": library_of(args),
        **allowed_of(args),
        "max_memory": _memory_of(args),
        "device": args.device,
    }


def allowed_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the recipe may read of the machine, as `read_recipe` takes it."""
    return {"allow_root": args.allow_root, "allow_env": args.allow_env}


def _memory_of(args: argparse.Namespace) -> int | None:
    """The bound of --max-memory in bytes, if one was given."""
    from graphrec.compiler.memory import parse_bytes

    if args.max_memory is None:
        return None
    try:
        return parse_bytes(args.max_memory)
    except ValueError as error:
        raise UsageError(f"--max-memory: {error}", args.usage) from None


def plugin_option(parser: Parser) -> None:
    """Modules with blocks of your own."""
    parser.add_argument(
        "--plugin",
        metavar="MODULE",
        dest="plugins",
        action="append",
        default=[],
        help="Python module with blocks of your own (may be repeated)",
    )


def library_of(args: argparse.Namespace) -> Library:
    """The built-in blocks and those of the plugins named on the command line."""
    from graphrec.blocks.library import load_library

    return load_library(args.plugins)


def recipe_path(text: str) -> str:
    """The file a RECIPE argument means: a path, or the bare name of a shipped recipe."""
    from graphrec.views.catalog import find_recipe

    return find_recipe(text)


def positive(text: str) -> int:
    """A whole number of 1 or more, as an option gives it: `1024` or `1_024`."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got `{text}`")
    return number


def size(text: str) -> int:
    """Bytes, as an option gives them: `80GB`."""
    from graphrec.compiler.memory import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def whole(text: str) -> int:
    """A whole number of 0 or more, as an option gives it."""
    return 0 if text == "0" else positive(text)


def editor_schema(output: str | None) -> str:
    """Where an editor finds the schema of recipes, seen from the folder of the file `output`."""
    from graphrec.blocks.library import shipped

    path = shipped("schemas") / "recipe.schema.json"
    folder = os.path.dirname(os.path.abspath(output or "recipe.yaml"))
    return os.path.relpath(path, folder).replace(os.sep, "/")


def unknown(name: str, known: Iterable[str], what: str, code: str) -> RecipeError:
    """The error for a name that nothing has: the nearest one, and those that are known."""
    from graphrec.ground.errors import Problem, RecipeError, suggestion

    return RecipeError(Problem(code, f"no {what} `{name}`", help=suggestion(name, known, 40)))


def compiled_for(args: argparse.Namespace, ranks: int) -> Compiled:
    """The recipe, compiled for the device; `ranks` share what it takes of memory."""
    from graphrec.compiler.memory import available
    from graphrec.train.device import compile_for

    settings = settings_of(args)
    bound = settings["max_memory"] or available() * ranks
    return compile_for(**{**settings, "max_memory": bound})


def run_data(run: Run, compiled: Compiled) -> dict[str, object]:
    """What `train --format json` prints."""
    problems = [problem.as_json() for problem in compiled.problems]
    evaluated = [record for record in run.records if record.get("kind") == "eval"]
    last = evaluated[-1] if evaluated else None
    from graphrec.train.run import read_info

    remarks = read_info(run.folder).get("remarks", [])
    return {"run": str(run.folder), "eval": last, "problems": problems, "remarks": remarks}
