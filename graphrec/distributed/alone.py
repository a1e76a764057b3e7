"""One CUDA device: a job of a single rank, so that its tables are those of many ranks.

What differs from a rank of many is the device alone: FBGEMM's kernels look the tables up and update
them in the backward pass, where torch would make sparse gradients.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from graphrec.compiler.pipeline import Compiled
from graphrec.distributed.torchrec_library import load_torchrec
from graphrec.ground.errors import EnvironmentFault, RecipeError
from graphrec.train.progress import Console
from graphrec.train.run import Run

__all__ = ["train_alone", "why_not_alone"]

_TIMEOUT = 120.0


def why_not_alone(compiled: Compiled) -> str | None:
    """Why torch keeps this recipe's tables on its device; None where torchrec can have them."""
    from graphrec.distributed.refusals import refuse

    try:
        load_torchrec()
        refuse(compiled.recipe, compiled.graph, compiled.device)
    except (EnvironmentFault, RecipeError) as error:
        return error.problems[0].message
    return None


def train_alone(
    compiled: Compiled,
    *,
    console: Console,
    run_dir: str | Path | None = None,
    command: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> Run:
    """`train` with the tables of torchrec, in this process; raises what `train` raises."""
    load_torchrec()
    from graphrec.distributed.job import ManyProcesses
    from graphrec.distributed.ranks import connect
    from graphrec.train.loop import train

    with _only_rank(), connect(_TIMEOUT, compiled.device) as ranks:
        return train(
            compiled,
            console=console,
            run_dir=run_dir,
            command=command,
            plugins=plugins,
            processes=ManyProcesses(ranks, compiled),
        )


@contextmanager
def _only_rank() -> Iterator[None]:
    """What an agent would say in the environment of the only rank of a job."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
