"""Counts of rows and values, summed over the epochs of a run as plain JSON."""

from __future__ import annotations

from typing import Any

from graphrec.data import Counts

__all__ = ["Counts", "close_epoch"]


def close_epoch(total: dict[str, Any], epoch: Counts, resumed: int) -> None:
    """Add a whole epoch to `total`; its first `resumed` rows were trained before a break."""
    whole = Counts.of(total)
    whole.add(epoch)
    whole.trained += resumed
    whole.skipped -= resumed
    total.clear()
    total.update(whole.plain())
