"""What the environment says of ranks; needs no torch."""

from __future__ import annotations

import os

__all__ = ["CONSEQUENCE", "launched", "rank", "restarted"]

_NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

CONSEQUENCE = 75
"""Exit status of a rank that ends because another one did."""


def launched() -> bool:
    """Whether an agent (torchrun, or that of `--nproc`) started this process as a rank."""
    return all(name in os.environ for name in _NEEDED)


def rank() -> int:
    """This rank's number."""
    return int(os.environ["RANK"])


def restarted() -> int:
    """How often the agent has started the ranks anew."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
