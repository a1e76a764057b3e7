"""Features -> families: equal settings together, ranges of names, vocabularies beside the names."""

from __future__ import annotations

from collections import Counter
from typing import Any

from graphrec.importers.tzrec.feature_draft import Feature
from graphrec.recipe.ranges import ranged

__all__ = ["families", "usual_dim"]

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
    family: dict[str, Any] = {"type": first.type, **first.settings}
    if first.type in _LOOKED and family.get("dim") == dim:
        del family["dim"]
    names = [feature.name for feature in members]
    if first.type == "cross":
        family["name"] = first.name
    elif len({str(feature.settings.get("vocab")) for feature in members}) > 1:
        family.pop("vocab", None)
        family["names"] = _mapped(members)
    else:
        ranges = ranged(names)
        family["names"] = ranges[0] if len(ranges) == 1 else ranges
    position = {key: number for number, key in enumerate(_ORDER)}
    return dict(sorted(family.items(), key=lambda item: position.get(item[0], len(_ORDER))))


def _mapped(members: list[Feature]) -> dict[str, Any]:
    """Name -> vocab, with ranges where neighbours have the same."""
    vocabularies: dict[str, Any] = {}
    run: list[Feature] = []
    for feature in [*members, None]:
        if run and (feature is None or feature.settings["vocab"] != run[0].settings["vocab"]):
            for name in ranged([f.name for f in run]):
                vocabularies[name] = run[0].settings["vocab"]
            run = []
        if feature is not None:
            run.append(feature)
    return vocabularies
