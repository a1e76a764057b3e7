"""graph: the picture of a recipe, or a page to walk around in."""

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
    from graphrec.compiler.pipeline import Compiled

__all__ = ["COMMANDS"]


def _graph(args: argparse.Namespace, console: Console) -> int:
    from dataclasses import replace

    from graphrec.compiler.passes import Seen
    from graphrec.compiler.pipeline import compile_recipe
    from graphrec.views import pictures

    seen = Seen()
    wanted = None if args.after is None else _known_pass(args)
    if wanted in ("inference", "candidate_split") and not args.inference:
        console.remark(f"{wanted} does nothing for training: add --inference")
    compiled = compile_recipe(
        **settings_of(args),
        trace=seen.add,
        purpose="inference" if args.inference else "train",
    )
    shown = compiled if wanted is None else replace(compiled, graph=seen.after(wanted))
    if args.format == "json":
        console.data(pictures.plain(shown.graph))
        return 0
    console.problems(compiled.problems)
    if args.format == "html":
        text = _page(compiled, shown, args.fast)
    else:
        drawings = {"mermaid": pictures.mermaid, "dot": pictures.dot, "svg": pictures.svg}
        text = drawings[args.format](shown.graph)
    if args.output is None:
        console.result(text)
        return 0
    write_text(args.output, text)
    console.remark(f"wrote {args.output}")
    return 0


def _known_pass(args: argparse.Namespace) -> str:
    from graphrec.compiler.passes import Seen
    from graphrec.ground.errors import nearest

    if args.after in Seen.names:
        return str(args.after)
    near = nearest(args.after, Seen.names)
    hint = f"; did you mean `{near}`?" if near else ""
    order = ", ".join(Seen.names)
    raise UsageError(f"no pass `{args.after}`{hint} (in order: {order})", args.usage)


def _page(compiled: Compiled, shown: Compiled, fast: bool) -> str:
    """The page of what is shown, with the costs of the whole model."""
    from importlib.util import find_spec

    from graphrec.views import pictures
    from graphrec.views.describe import describe
    from graphrec.views.flops import history_lengths, measure

    costs, remarks = None, tuple[str, ...]()
    if not fast and find_spec("torch") is not None:
        costs, remarks = measure(compiled)
    lengths = history_lengths(compiled.recipe)
    about = describe(shown.graph, costs, lengths=lengths, remarks=remarks)
    return pictures.html(shown.graph, about, compiled.recipe)


def _options(parser: Parser) -> None:
    recipe_options(parser, formats=("mermaid", "dot", "svg", "html", "json"))
    target_option(parser)
    parser.add_argument("-O", metavar="FILE", dest="output", help="write there, not to stdout")
    parser.add_argument(
        "--after", metavar="PASS", help="the graph as it was after this pass (first: build)"
    )
    parser.add_argument(
        "--inference",
        action="store_true",
        help="as it is compiled for inference: what runs once per request is marked",
    )
    parser.add_argument(
        "--fast", action="store_true", help="html without parameters and FLOPs: needs no torch"
    )
    parser.set_defaults(usage=parser.format_usage().strip())


COMMANDS = (
    Command(
        "graph",
        "draw the graph: mermaid (for a README), dot, svg, or html to walk around in",
        _graph,
        _options,
        (
            "graphrec graph shop --format html -O shop.html",
            "graphrec graph deepfm",
            "graphrec graph shop --after build --format svg -O before.svg",
            "graphrec graph shop --inference --format svg -O serving.svg",
        ),
    ),
)
