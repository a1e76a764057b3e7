"""Counts of rows and values as plain JSON, summed over the epochs of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphrec.data import Counts

__all__ = ["Counts", "close_epoch", "counts_of", "plain"]

_NUMBERS = ("read", "trained", "skipped", "quarantined")
_MAPS = ("reasons", "values", "unseen", "unlabelled")


def plain(counts: Counts) -> dict[str, Any]:
    """The counts as JSON."""
    found: dict[str, Any] = {name: getattr(counts, name) for name in _NUMBERS}
    return found | {name: dict(sorted(getattr(counts, name).items())) for name in _MAPS}


def counts_of(values: Mapping[str, Any]) -> Counts:
    """Counts from their JSON; an empty map is no counts."""
    counts = Counts(**{name: values.get(name, 0) for name in _NUMBERS})
    for name in _MAPS:
        getattr(counts, name).update(values.get(name, {}))
    return counts


def close_epoch(total: dict[str, Any], epoch: Counts, resumed: int) -> None:
    """Add a whole epoch to `total`; its first `resumed` rows were trained before a break."""
    whole = counts_of(total)
    whole.add(epoch)
    whole.trained += resumed
    whole.skipped -= resumed
    total.clear()
    total.update(plain(whole))
