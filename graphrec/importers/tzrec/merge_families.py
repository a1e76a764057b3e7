"""Features -> families: equal settings together, ranges of names, vocabularies beside the names."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from graphrec.importers.tzrec.feature_draft import Feature

__all__ = ["families", "usual_dim"]

_NUMBERED = re.compile(r"(.*?)(0|[1-9][0-9]*)")
_ALONE = ("column", "edges")
_ORDER = (
    "type",
    "group",
    "side",
    "name",
    "names",
    "column",
    "of",
    "vocab",
    "edges",
    "width",
    "transform",
    "stats",
)
_LOOKED = ("id", "bucket", "cross")


def usual_dim(features: list[Feature]) -> int | None:
    """The width that most looked-up features have, if it is worth a default."""
    widths = Counter(f.settings["dim"] for f in features if f.type in _LOOKED)
    if sum(widths.values()) < 3:
        return None
    return int(widths.most_common(1)[0][0])


def families(features: list[Feature], dim: int | None) -> list[dict[str, Any]]:
    """The elements of `features:`; `dim` is the default, not said again."""
    together: dict[str, list[Feature]] = {}
    for feature in features:
        settings = {k: v for k, v in feature.settings.items() if k != "vocab"}
        alone = feature.type == "cross" or any(key in settings for key in _ALONE)
        key = repr((feature.type, sorted(settings.items(), key=repr), alone and feature.name))
        together.setdefault(key, []).append(feature)
    return [_family(members, dim) for members in together.values()]


def _family(members: list[Feature], dim: int | None) -> dict[str, Any]:
    first = members[0]
    made: dict[str, Any] = {"type": first.type, **first.settings}
    if first.type in _LOOKED and made.get("dim") == dim:
        del made["dim"]
    names = [feature.name for feature in members]
    if first.type == "cross":
        made["name"] = first.name
    elif len({str(feature.settings.get("vocab")) for feature in members}) > 1:
        made.pop("vocab", None)
        made["names"] = _mapped(members)
    else:
        ranges = ranged(names)
        made["names"] = ranges[0] if len(ranges) == 1 else ranges
    position = {key: number for number, key in enumerate(_ORDER)}
    return dict(sorted(made.items(), key=lambda item: position.get(item[0], len(_ORDER))))


def _mapped(members: list[Feature]) -> dict[str, Any]:
    """Name -> vocab, with ranges where neighbours have the same."""
    made: dict[str, Any] = {}
    run: list[Feature] = []
    for feature in [*members, None]:
        if run and (feature is None or feature.settings["vocab"] != run[0].settings["vocab"]):
            for name in ranged([f.name for f in run]):
                made[name] = run[0].settings["vocab"]
            run = []
        if feature is not None:
            run.append(feature)
    return made


def ranged(names: list[str]) -> list[str]:
    """Names with neighbours that count up written as a range.

    >>> ranged(["C1", "C2", "C3", "x"])
    ['C1..C3', 'x']
    """
    made: list[str] = []
    run: list[tuple[str, int]] = []

    def close() -> None:
        if len(run) > 2:
            made.append(f"{run[0][0]}{run[0][1]}..{run[-1][0]}{run[-1][1]}")
        else:
            made.extend(f"{prefix}{number}" for prefix, number in run)
        run.clear()

    for name in names:
        match = _NUMBERED.fullmatch(name)
        here = (match[1], int(match[2])) if match else None
        if here is None or (run and here != (run[-1][0], run[-1][1] + 1)):
            close()
        if here is None:
            made.append(name)
        else:
            run.append(here)
    close()
    return made
