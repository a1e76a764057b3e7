"""check-block: whether a block, loss, metric or activation keeps what graphrec expects of it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from graphrec.cli.command import Command, Parser, UsageError, positive, shared_options
from graphrec.cli.console import Console

if TYPE_CHECKING:
    from graphrec.blocks.library import Part
    from graphrec.ground.activation_table import Activation
    from graphrec.ground.shapes import Shape
    from graphrec.verify.block import Report

__all__ = ["COMMANDS"]


def _check_block(args: argparse.Namespace, console: Console) -> int:
    kind = _kind(args.block)
    given = dict(_parameter(text, args.usage) for text in args.params)
    report = _report(kind, given, args, console)
    if console.json:
        console.data(report.as_json())
    else:
        console.result(report.as_text())
    return 0 if report.passed else 2


def _report(
    kind: Part | Activation, given: dict[str, Any], args: argparse.Namespace, console: Console
) -> Report:
    from graphrec.blocks.base import Block

    if not isinstance(kind, type):
        return _activation(kind, given, args)
    if not issubclass(kind, Block):
        from graphrec.verify.measures import check_measure

        return check_measure(kind, given, stops_gradients=args.stops_gradients)
    # After loading the class: a mistake in a name is told before torch is loaded.
    from graphrec.verify.block import check_block, find_examples, guessed_parameters

    guessed = guessed_parameters(kind, given)
    examples = find_examples(
        kind,
        {**given, **guessed},
        dict(_input(text, args.usage) for text in args.inputs),
        longest=args.longest,
        stops_gradients=args.stops_gradients,
    )
    if guessed:
        shown = " ".join(f"--param {name}={value}" for name, value in guessed.items())
        console.remark(f"guessed: {shown}")
    return check_block(examples)


def _activation(row: Activation, given: dict[str, Any], args: argparse.Namespace) -> Report:
    from graphrec.ground.errors import Problem, RecipeError
    from graphrec.verify.measures import check_activation

    name = args.block.partition(":")[2].lower() or args.block
    try:
        return check_activation(name, row, given, stops_gradients=args.stops_gradients)
    except ValueError as error:
        raise RecipeError(Problem("GR202", str(error), path=args.block)) from None


def _kind(text: str) -> Part | Activation:
    """What `module:Class` names, or a block, loss, metric or activation of that name."""
    from graphrec.blocks.library import BUILTIN, load_part
    from graphrec.ground.errors import Problem, RecipeError, suggestion

    if ":" in text:
        return load_part(text)
    known: dict[str, Part | Activation] = dict(BUILTIN.primitives)
    for table in (BUILTIN.measures.losses, BUILTIN.measures.metrics, BUILTIN.activations):
        known |= {name: part for name, part in table.items() if name not in known}
    if text not in known:
        help = suggestion(text, known) or "parts of your own are named module:Class"
        what = f"no block, loss, metric or activation `{text}`"
        raise RecipeError(Problem("GR305", what, path=text, help=help))
    return known[text]


def _parameter(text: str, usage: str) -> tuple[str, Any]:
    """`hidden=[8, 4]`, read as a recipe reads values."""
    from graphrec.ground.errors import RecipeError
    from graphrec.recipe.reader import read_value

    name, equals, written = text.partition("=")
    if not equals or not name or not written.strip():
        raise UsageError(f"--param {text}: expected NAME=VALUE, such as hidden=[8,4]", usage)
    value, problems = read_value(written, None)
    if problems or value is None:
        raise RecipeError(problems)
    return name, value.plain()


def _input(text: str, usage: str) -> tuple[str, Shape]:
    from graphrec.verify.block import parse_shape

    name, equals, written = text.partition("=")
    if not equals:
        raise UsageError(f"--input {text}: expected PORT=SHAPE, such as x=B,8", usage)
    try:
        return name, parse_shape(written)
    except ValueError as error:
        raise UsageError(f"--input {text}: {error}", usage) from None


def _options(parser: Parser) -> None:
    parser.add_argument(
        "block",
        metavar="BLOCK",
        help="module:Class of yours (Block, Loss, Metric; module:CONSTANT of an Activation), or the"
        " name of a built-in one",
    )
    parser.add_argument(
        "--param",
        metavar="NAME=VALUE",
        dest="params",
        action="append",
        default=[],
        help="a parameter: --param hidden=[8,4] (may be repeated); what is needed is guessed",
    )
    parser.add_argument(
        "--input",
        metavar="PORT=SHAPE",
        dest="inputs",
        action="append",
        default=[],
        help="shape of an input: x=B,8  fields=B,4,8  keys=B,L,8 (default: the first that fits)",
    )
    parser.add_argument(
        "--longest",
        metavar="STEPS",
        type=positive,
        help="the longest history that the block reads (default: any)",
    )
    parser.add_argument(
        "--stops-gradients",
        action="store_true",
        help="the block stops gradients of its inputs on purpose: compare those of weights only",
    )
    shared_options(parser)
    parser.set_defaults(usage=parser.format_usage().strip())


COMMANDS = (
    Command(
        "check-block",
        "check a block, loss, metric or activation of your own: shapes, gradients, rows, state",
        _check_block,
        _options,
        (
            "graphrec check-block my_blocks:Gated --param units=8",
            "graphrec check-block my_blocks:Pooled --input keys=B,L,16 --format json",
            "graphrec check-block my_losses:Huber --param delta=2",
        ),
    ),
)
