"""torchrec, loaded when it is needed: late, since that takes seconds, and without its remarks."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from graphrec.ground.errors import EnvironmentFault, Problem

__all__ = ["load_torchrec", "quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """torchrec's remarks to its own developers stay out of a user's terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def load_torchrec() -> None:
    """Import torchrec and all of it that is used here; EnvironmentFault (GR905) where it can't be.

    Before the first import of a module of this room that needs it.
    """
    try:
        with quiet():
            import torch.distributed.optim  # noqa: F401
            import torchrec
            import torchrec.distributed.model_parallel
            import torchrec.distributed.planner
            import torchrec.distributed.train_pipeline  # noqa: F401
    except (ImportError, OSError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        problem = Problem(
            "GR905",
            f"torchrec can't be loaded: {reason}",
            help="`graphrec doctor` says what is missing, and the line that installs it",
        )
        raise EnvironmentFault(problem) from None
