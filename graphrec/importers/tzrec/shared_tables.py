"""Features that share a table: made to agree where the other system does not mind."""

from __future__ import annotations

from typing import Any

from graphrec.importers.tzrec.feature_draft import Feature
from graphrec.importers.tzrec.section import Notes

__all__ = ["unify_shared"]

_SOFT = ("init", "pool", "dtype", "trainable")
_HARD = ("vocab", "edges", "dim")


def unify_shared(features: list[Feature], notes: Notes) -> None:
    """Give features of one table the first one's settings; drop names of tables used once."""
    tables: dict[str, list[Feature]] = {}
    for feature in features:
        if "share" in feature.settings:
            tables.setdefault(str(feature.settings["share"]), []).append(feature)
    for table, members in tables.items():
        first, *rest = members
        if not rest:
            del first.settings["share"]
            continue
        _pool_all(members)
        for feature in rest:
            if any(feature.settings.get(key) != first.settings.get(key) for key in _HARD):
                what = f"`{feature.name}` can't share table `{table}` with `{first.name}`"
                notes.add(feature.span, what, "rows or width differ: a table of its own")
                del feature.settings["share"]
                continue
            for key in _SOFT:
                if feature.settings.get(key) == first.settings.get(key):
                    continue
                shown = first.settings.get(key, "not given")
                what = f"`{feature.name}` shares a table: {key} is {shown}, as for `{first.name}`"
                notes.add(feature.span, what)
                feature.settings.pop(key, None)
                if key in first.settings:
                    feature.settings[key] = first.settings[key]
        if sum("share" in feature.settings for feature in members) < 2:
            first.settings.pop("share")


def _pool_all(members: list[Feature]) -> None:
    """Where one column of a table holds several values, the others' one value is pooled too."""
    pooled = [feature.settings for feature in members if "pool" in feature.settings]
    if not pooled:
        return
    how: dict[str, Any] = {key: pooled[0][key] for key in ("pool", "sep") if key in pooled[0]}
    for feature in members:
        if "pool" not in feature.settings:
            feature.settings |= how
