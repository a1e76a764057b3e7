"""`train` on one of many ranks: rank 0 has the console, and the first to fail has the last word."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from graphrec.cli.command import compiled_for, run_data
from graphrec.cli.console import Console, lasting_streams
from graphrec.distributed.rank_environment import CONSEQUENCE, rank

if TYPE_CHECKING:
    from graphrec.distributed.ranks import Ranks

__all__ = ["as_rank"]

_SOON = 3.0  # seconds in which a rank that failed says so, after its connections have broken


def as_rank(args: argparse.Namespace, console: Console) -> int:
    """Train as the rank that the environment names."""
    from graphrec.distributed.ranks import connect

    if rank():
        console.quiet = True
    device = args.device if args.device in ("cpu", "cuda") else None
    with connect(args.timeout, device) as ranks:
        try:
            _work(args, console, ranks)
        except Exception as error:
            _leave(ranks, error, console)
    return 0


def _work(args: argparse.Namespace, console: Console, ranks: Ranks) -> None:
    from graphrec.distributed.torchrec_library import load_torchrec

    load_torchrec()
    from graphrec.distributed.job import ManyProcesses, follow
    from graphrec.train.loop import train

    compiled = compiled_for(args, ranks.local_size)
    if compiled.device != ranks.device.type:  # ranks meet before one of them reads the recipe
        from graphrec.ground.errors import Problem, RecipeError

        what = f"the recipe wants device {compiled.device}, and ranks take {ranks.device.type}"
        help = f"say it to all of them: --device {compiled.device}"
        raise RecipeError([Problem("GR901", what, path="train.device", help=help)])
    if not ranks.first:
        follow(ranks, compiled)
        return
    if not console.json:
        console.problems(compiled.problems)
    with lasting_streams():
        run = train(
            compiled,
            console=console,
            run_dir=args.run,
            command=["graphrec", *args.words],
            plugins=tuple(args.plugins),
            processes=ManyProcesses(ranks, compiled),
        )
        if console.json:
            console.data(run_data(run, compiled))


def _leave(ranks: Ranks, error: Exception, console: Console) -> NoReturn:
    """Tell what happened, if nobody else has a better right to, and end this process at once."""
    from graphrec.cli import tell
    from graphrec.ground.errors import EnvironmentFault, GraphrecError, Problem

    status = CONSEQUENCE
    if isinstance(error, GraphrecError):
        if ranks.speaks():
            told = [replace(p, message=f"{ranks.name}: {p.message}") for p in error.problems]
            console.quiet = False
            console.problems(told, getattr(error, "sources", None))
        status = error.exit_status
    elif not ranks.is_consequence(error):
        if ranks.speaks():
            status = tell(error, console)
    elif silent := ranks.gone():
        if ranks.speaks():
            names = ", ".join(f"rank {number}" for number in silent)
            problem = Problem(
                "GR903",
                f"no sign of life of {names}: the job ends",
                help=f"it waited {ranks.timeout:.0f} s (--timeout); "
                "the same command goes on from the last checkpoint",
            )
            console.problems(EnvironmentFault(problem).problems)
            status = EnvironmentFault.exit_status
        ranks.end_those_that_hang(silent)
    else:
        time.sleep(_SOON)  # whoever failed first may still be speaking
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
