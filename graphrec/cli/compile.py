"""compile, graph: the generated module as text, and its picture."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from graphrec.cli.command import (
    Command,
    Parser,
    UsageError,
    library_of,
    memory_of,
    recipe_options,
    recipe_path,
)
from graphrec.cli.console import Console, write_file

if TYPE_CHECKING:
    from graphrec.compiler.passes import Trace
    from graphrec.compiler.pipeline import Compiled
    from graphrec.compiler.target import Purpose
    from graphrec.graph import Graph

__all__ = ["COMMANDS"]


def _compiled(
    args: argparse.Namespace, trace: Trace | None = None, purpose: Purpose = "train"
) -> Compiled:
    from graphrec.compiler.pipeline import compile_recipe

    return compile_recipe(
        recipe_path(args.recipe),
        overrides=args.overrides,
        library=library_of(args),
        trace=trace,
        allow_root=args.allow_root,
        max_memory=memory_of(args),
        purpose=purpose,
    )


def _compile(args: argparse.Namespace, console: Console) -> int:
    if args.check and args.output is None:
        raise UsageError("--check compares with a file: add -O FILE", args.usage)
    compiled = _compiled(args, purpose="inference" if args.inference else "train")
    text = compiled.source.text
    if args.inference and not compiled.source.score:
        console.remark("no score(): it needs features with `side: user` and others without")
    if args.check:
        return _compare(args.output, text, console)
    if args.output is not None:
        write_file(args.output, text)
        console.remark(f"wrote {args.output}")
    if console.json:
        problems = [problem.as_json() for problem in compiled.problems]
        made = {"class": compiled.source.class_name, "source": text}
        console.data({"problems": problems, **({} if args.output else made)})
        return 0
    console.problems(compiled.problems)
    if args.output is None:
        console.result(text)
    return 0


def _compare(path: str, text: str, console: Console) -> int:
    from pathlib import Path

    from graphrec.errors import Problem

    try:
        found = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        found = None
    if found == text:
        console.problems([])
        console.remark(f"{path} is up to date")
        return 0
    what = "is missing" if found is None else "is not what the recipe compiles to"
    help_text = "run the same command without --check"
    console.problems([Problem("GR004", f"{path} {what}", path=path, help=help_text)])
    return 2


def _graph(args: argparse.Namespace, console: Console) -> int:
    from graphrec.views import pictures

    seen: dict[str, Graph] = {}
    wanted = None if args.after is None else _known_pass(args)
    if wanted in ("inference", "candidate_split") and not args.inference:
        console.remark(f"{wanted} does nothing for training: add --inference")
    compiled = _compiled(args, seen.__setitem__, "inference" if args.inference else "train")
    graph = compiled.graph if wanted is None else _as_it_was(seen[wanted], wanted)
    if args.format == "json":
        console.data(pictures.plain(graph))
        return 0
    console.problems(compiled.problems)
    if args.format == "html":
        text = _page(compiled, graph, args.fast)
    else:
        drawings = {"mermaid": pictures.mermaid, "dot": pictures.dot, "svg": pictures.svg}
        text = drawings[args.format](graph)
    if args.output is None:
        console.result(text)
        return 0
    write_file(args.output, text)
    console.remark(f"wrote {args.output}")
    return 0


def _known_pass(args: argparse.Namespace) -> str:
    from graphrec.compiler.passes import PASSES
    from graphrec.errors import nearest

    names = ["build", *(step.__name__ for step in PASSES)]
    if args.after in names:
        return str(args.after)
    near = nearest(args.after, names)
    hint = f"; did you mean `{near}`?" if near else ""
    raise UsageError(f"no pass `{args.after}`{hint} (in order: {', '.join(names)})", args.usage)


def _as_it_was(graph: Graph, after: str) -> Graph:
    """The graph as that pass left it; no kernel is shown before kernels are chosen."""
    from dataclasses import replace

    from graphrec.compiler.passes import PASSES
    from graphrec.compiler.passes.kernel_choice import choose_kernels

    if after not in [step.__name__ for step in PASSES[PASSES.index(choose_kernels) :]]:
        graph = graph.with_nodes(replace(node, kernel=None) for node in graph.nodes)
    return replace(graph, description=f"After {after}. {graph.description}".strip())


def _page(compiled: Compiled, graph: Graph, fast: bool) -> str:
    from importlib.util import find_spec

    from graphrec.views import pictures
    from graphrec.views.describe import describe
    from graphrec.views.flops import history_lengths, measure

    costs, remarks = None, tuple[str, ...]()
    if not fast and find_spec("torch") is not None:
        costs, remarks = measure(compiled)
    lengths = history_lengths(compiled.recipe)
    about = describe(graph, costs, lengths=lengths, remarks=remarks)
    return pictures.html(graph, about, compiled.recipe)


def _output_option(parser: Parser) -> None:
    parser.add_argument("-O", metavar="FILE", dest="output", help="write there, not to stdout")


def _compile_options(parser: Parser) -> None:
    recipe_options(parser)
    _output_option(parser)
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


def _graph_options(parser: Parser) -> None:
    recipe_options(parser, formats=("mermaid", "dot", "svg", "html", "json"))
    _output_option(parser)
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
        "compile",
        "print the generated torch module, or write it with -O",
        _compile,
        _compile_options,
        (
            "graphrec compile deepfm",
            "graphrec compile my_recipe.yaml -O model.py",
            "graphrec compile my_recipe.yaml -O model.py --check",
            "graphrec compile shop --inference -O shop_serving.py",
        ),
    ),
    Command(
        "graph",
        "draw the graph: mermaid (for a README), dot, svg, or html to walk around in",
        _graph,
        _graph_options,
        (
            "graphrec graph shop --format html -O shop.html",
            "graphrec graph deepfm",
            "graphrec graph shop --after build --format svg -O before.svg",
            "graphrec graph shop --inference --format svg -O serving.svg",
        ),
    ),
)
