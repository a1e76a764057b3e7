"""`--nproc N`: torch.distributed.run's elastic agent in this process, with N ranks below it."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphrec.distributed.rank_environment import CONSEQUENCE
from graphrec.ground.errors import EnvironmentFault, Problem

__all__ = ["Launch", "launch"]


@dataclass(frozen=True)
class Launch:
    """How many ranks, and how often they are started again when one is lost."""

    ranks: int
    max_restarts: int = 0


def launch(settings: Launch, words: Sequence[str]) -> int:
    """Run `graphrec WORDS` on so many ranks of this machine; the exit status of the job.

    Raises EnvironmentFault (GR903) for a rank that was killed: it could tell nothing itself.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=settings.ranks,
        run_id=f"graphrec-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=settings.max_restarts,
        local_addr="localhost",
    )
    _prepare(settings.ranks)
    logging.disable(logging.CRITICAL)  # the agent's own report; ours is below
    try:
        # -P: the working directory is no place to import from.
        elastic_launch(config, sys.executable)("-P", "-m", "graphrec", *words)
    except ChildFailedError as error:
        return _status(error.failures)
    except SignalException as stopped:
        return 128 + int(stopped.sigval)
    finally:
        logging.disable(logging.NOTSET)
    return 0


def _prepare(ranks: int) -> None:
    """What the ranks find in their environment."""
    here = str(Path(__file__).resolve().parents[2])
    paths = [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))


def _status(failures: dict[int, Any]) -> int:
    """The exit status of the rank whose end was no consequence of another's."""
    killed = {
        rank: -failure.exitcode
        for rank, failure in sorted(failures.items())
        if failure.exitcode < 0 and -failure.exitcode != signal.SIGTERM
    }
    told = [f.exitcode for _, f in sorted(failures.items()) if f.exitcode > 0]
    told = [status for status in told if status != CONSEQUENCE]
    if told:
        return int(told[0])
    if killed:
        raise EnvironmentFault([_killed(rank, number) for rank, number in killed.items()])
    return CONSEQUENCE


def _killed(rank: int, number: int) -> Problem:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    help_text = (
        "the same command goes on from the last checkpoint; --max-restarts does so by itself"
    )
    if number == signal.SIGKILL:
        help_text = f"was there enough memory? {help_text}"
    return Problem("GR903", f"rank {rank} was ended by {name}", help=help_text)
