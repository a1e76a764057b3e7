"""describe: nodes, shapes, parameters, FLOPs, tables, and the kernels that were chosen."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from graphrec.cli.command import (
    Command,
    Parser,
    positive,
    recipe_options,
    settings_of,
    size,
    target_option,
)
from graphrec.cli.console import Console

if TYPE_CHECKING:
    from graphrec.compiler.pipeline import Compiled

__all__ = ["COMMANDS"]


def _describe(args: argparse.Namespace, console: Console) -> int:
    from graphrec.compiler.pipeline import compile_recipe
    from graphrec.views.describe import describe
    from graphrec.views.flops import history_lengths, measure

    compiled = compile_recipe(
        **settings_of(args),
        purpose="inference" if args.inference else "train",
    )
    if args.ranks is not None:
        return _plan(args, compiled, console)
    costs, remarks = measure(compiled)
    lengths = history_lengths(compiled.recipe)
    description = describe(compiled.graph, costs, lengths=lengths, remarks=remarks)
    if console.json:
        problems = [problem.as_json() for problem in compiled.problems]
        console.data({**description.as_json(), "problems": problems})
        return 0
    console.problems(compiled.problems)
    console.result(description.as_text())
    return 0


def _plan(args: argparse.Namespace, compiled: Compiled, console: Console) -> int:
    """What torchrec plans for ranks that need not be here."""
    from pathlib import Path

    from graphrec.distributed.torchrec_library import load_torchrec

    load_torchrec()
    from graphrec.distributed.planning import Cluster
    from graphrec.distributed.preview import fitted_rows, plan_data, plan_text, preview

    device = args.device if args.device in ("cpu", "cuda") else "cuda" if args.hbm else "cpu"
    cluster = Cluster(args.ranks, device, args.per_host, args.hbm, args.ddr)
    recipe = compiled.recipe
    rows = fitted_rows(recipe, Path(args.run)) if args.run else {}
    plan, remarks = preview(compiled, cluster, args.batch or recipe.train.batch, rows)
    if console.json:
        problems = [problem.as_json() for problem in compiled.problems]
        console.data({"plan": plan_data(plan), "remarks": list(remarks), "problems": problems})
        return 0
    console.problems(compiled.problems)
    for remark in remarks:
        console.remark(remark)
    console.result(plan_text(plan))
    return 0


def _options(parser: Parser) -> None:
    recipe_options(parser)
    target_option(parser)
    _plan_options(parser)
    parser.add_argument(
        "--inference",
        action="store_true",
        help="as it is compiled for inference: which nodes run once per request",
    )
    parser.set_defaults(usage=parser.format_usage().strip())


def _plan_options(parser: Parser) -> None:
    group = parser.add_argument_group("a plan for many processes (docs/scaling.md)")
    group.add_argument(
        "--ranks",
        metavar="N",
        type=positive,
        help="show how torchrec would divide the tables among N processes; none of them is started",
    )
    group.add_argument(
        "--batch",
        metavar="ROWS",
        type=positive,
        help="rows of a batch over all ranks (default: train.batch)",
    )
    group.add_argument("--hbm", metavar="SIZE", type=size, help="memory of each GPU, e.g. 80GB")
    group.add_argument(
        "--ddr", metavar="SIZE", type=size, help="memory of the host for each rank, e.g. 128GB"
    )
    group.add_argument(
        "--per-host", metavar="N", type=positive, help="ranks of one host (default: 8)"
    )
    group.add_argument(
        "--run", metavar="RUN", help="take the sizes of fitted tables from this run folder"
    )


COMMANDS = (
    Command(
        "describe",
        "list nodes, shapes, parameters, FLOPs, tables and kernels",
        _describe,
        _options,
        (
            "graphrec describe deepfm",
            "graphrec describe shop -o kernels.default=triton",
            "graphrec describe shop --inference",
            "graphrec describe dbmtl_taobao --ranks 64 --hbm 80GB --batch 65536",
        ),
    ),
)
