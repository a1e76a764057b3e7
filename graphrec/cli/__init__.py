"""The command line: `graphrec COMMAND ...`.

    cli/COMMAND.py   one file a command, named by it (import_.py is import)
    cli/command.py   what a command is, options they share
    cli/console.py   stdout, stderr, JSON, colours
    cli/ranks.py     train on one of many processes

Thin: every command imports what it needs when it runs, so that `--help` needs argparse alone.
Exit status: 0 fine, 2 usage or recipe, 3 data, 4 environment, 5 checkpoint, 70 a bug of graphrec,
129, 130, 143 interrupted.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from graphrec.cli import (
    bench,
    blocks,
    check,
    check_block,
    describe,
    diff,
    doctor,
    evaluate,
    expand,
    explain,
    export,
    graph,
    import_,
    importance,
    index,
    keys,
    new,
    predict,
    recipes,
    runs,
    schema,
    search,
    serve,
    train,
    tune,
    verify,
)
from graphrec.cli import compile as compile_
from graphrec.cli.command import Command, Parser, UsageError
from graphrec.cli.console import Console, drop, open_streams

__all__ = ["GROUPS", "main", "tell"]

GROUPS: tuple[tuple[str, tuple[Command, ...]], ...] = (
    ("start", (*new.COMMANDS, *import_.COMMANDS)),
    (
        "look at a recipe",
        (*check.COMMANDS, *describe.COMMANDS, *expand.COMMANDS, *diff.COMMANDS),
    ),
    ("make something of it", (*compile_.COMMANDS, *graph.COMMANDS)),
    (
        "train",
        (*train.COMMANDS, *evaluate.COMMANDS, *tune.COMMANDS, *runs.COMMANDS) + importance.COMMANDS,
    ),
    (
        "use what was trained",
        (*predict.COMMANDS, *export.COMMANDS, *serve.COMMANDS, *index.COMMANDS, *search.COMMANDS),
    ),
    ("kernels", (*bench.COMMANDS, *verify.COMMANDS)),
    (
        "what there is",
        (*recipes.COMMANDS, *blocks.COMMANDS, *keys.COMMANDS, *schema.COMMANDS, *explain.COMMANDS)
        + check_block.COMMANDS,
    ),
    ("this machine", doctor.COMMANDS),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (see the module's text)."""
    words = list(sys.argv[1:] if argv is None else argv)
    open_streams()
    if argv is None and not sys.warnoptions:
        # Python's warnings are for who writes the code; -W and PYTHONWARNINGS show them.
        warnings.simplefilter("ignore")
    console = Console(json=_asks_for_json(words), quiet="--quiet" in words)
    try:
        status = _run(words, console)
        return _flushed(status, console)
    except KeyboardInterrupt:
        console.remark("interrupted")
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has gone: leave without a word, also when Python flushes at exit.
        drop(sys.stdout)
        return 141
    except OSError as error:  # of --help; those of commands are told where they run
        return tell(error, console)


def _flushed(status: int, console: Console) -> int:
    """The status, unless what the command was asked for can't be written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        drop(sys.stdout)
        return tell(OSError(error.errno, error.strerror, "standard output"), console)
    return status


def _run(words: list[str], console: Console) -> int:
    parser = _parser()
    try:
        args, unknown = parser.parse_known_args(words)
        if unknown:
            raise _unknown(unknown, args, parser)
    except UsageError as error:
        return _usage(error, console)
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    if args.command is None:
        sys.stdout.write(parser.format_help())
        return 0
    args.words = words
    try:
        return int(args.act(args, console))
    except SystemExit as stopped:
        from graphrec.ground.errors import Interrupted

        if isinstance(stopped, Interrupted):
            return int(stopped.code or 0)
        # sys.exit() in a plugin's block is its author's mistake, and no end of ours
        return tell(stopped, console)
    except BrokenPipeError:
        raise
    except Exception as error:
        return tell(error, console)


def _unknown(words: list[str], args: argparse.Namespace, parser: Parser) -> UsageError:
    from graphrec.ground.errors import nearest

    usage = getattr(args, "usage", "") or parser.format_usage().strip()
    option = words[0].partition("=")[0]
    near = nearest(option, re.findall(r"--[a-z-]+", usage)) if option.startswith("--") else None
    hint = f"; did you mean `{near}`?" if near else ""
    return UsageError(f"unrecognized arguments: {' '.join(words)}{hint}", usage)


def tell(error: BaseException, console: Console) -> int:
    """Print an error in its form; returns the exit status that goes with it."""
    from graphrec.ground.errors import GraphrecError, Problem, machine_fault

    if isinstance(error, UsageError):
        return _usage(error, console)
    if isinstance(error, GraphrecError):
        console.problems(error.problems, getattr(error, "sources", None))
        return error.exit_status
    fault = machine_fault(error)
    if fault is not None:
        console.problems(fault.problems)
        return fault.exit_status
    import traceback

    traceback.print_exception(error)
    where = traceback.extract_tb(error.__traceback__)[-1].filename
    ours = Path(__file__).resolve().parents[1] in Path(where).resolve().parents
    who = "a bug in graphrec, not in your recipe" if ours else f"an error in {where}, or behind it"
    help = "please report it with the lines above, the command, and what `graphrec doctor` prints"
    what = f"internal error: {type(error).__name__}: {error} ({who})"
    remedy = help if ours else f"mend it there; if that is not yours, {help}"
    console.problems([Problem("GR003", what, help=remedy)])
    return 70


def _usage(error: UsageError, console: Console) -> int:
    if console.json:
        from graphrec.ground.errors import Problem

        console.problems([Problem("GR001", str(error), help=error.usage)])
    else:
        sys.stderr.write(f"graphrec: {error}\n{error.usage}\n")
    return 2


def _asks_for_json(words: list[str]) -> bool:
    """Read before the command line is parsed: its own mistakes are told in that form too."""
    pairs = zip(words, [*words[1:], ""], strict=False)
    return any(
        word == "--format=json" or (word, value) == ("--format", "json") for word, value in pairs
    )


class _Main(Parser):
    """The parser of `graphrec` itself: its help lists the commands by what they are for."""

    def format_help(self) -> str:
        width = max(len(command.name) for _, commands in GROUPS for command in commands)
        lines = [
            "usage: graphrec COMMAND ...",
            "",
            "A recipe in YAML in, one readable torch nn.Module out.",
        ]
        for title, commands in GROUPS:
            lines += ["", f"{title}:"]
            lines += [f"  {command.name:<{width}}  {command.help}" for command in commands]
        lines += ["", "examples:"]
        lines += [f"  {example}" for example in _EXAMPLES]
        lines += [
            "",
            "`graphrec COMMAND --help` tells more; `graphrec --version` which version this is.",
        ]
        return "\n".join(lines) + "\n"

    def error(self, message: str) -> NoReturn:
        choice = re.match(r"argument command: invalid choice: '(.*?)'", message)
        if choice is None:
            super().error(message)
        from graphrec.ground.errors import nearest

        near = nearest(choice[1], [command.name for _, group in GROUPS for command in group])
        hint = f"; did you mean `{near}`?" if near else ""
        super().error(f"no command `{choice[1]}`{hint}")

    def format_usage(self) -> str:
        return "usage: graphrec COMMAND ...   (graphrec --help lists the commands)\n"


_EXAMPLES = (
    "graphrec recipes",
    "graphrec new deepfm -O my_recipe.yaml",
    "graphrec check deepfm",
    "graphrec compile my_recipe.yaml -O model.py",
    "graphrec train shop -o data.synthetic=50_000 -o train.epochs=1",
)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from graphrec.ground.version import __version__

        sys.stdout.write(f"graphrec {__version__}\n")
        parser.exit()


def _parser() -> Parser:
    parser = _Main(prog="graphrec")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(dest="command", parser_class=Parser)
    for _, group in GROUPS:
        for command in group:
            examples = "".join(f"\n  {example}" for example in command.examples)
            child = commands.add_parser(
                command.name,
                help=command.help,
                description=command.help[:1].upper() + command.help[1:] + ".",
                epilog=f"examples:{examples}" if examples else None,
            )
            command.configure(child)
            child.set_defaults(act=command.run)
    return parser
