"""A number of a config: cut into buckets, or as it is."""

from __future__ import annotations

from typing import Any

from graphrec.importers.tzrec.feature_draft import Feature, Reading, is_number
from graphrec.importers.tzrec.section import Section
from graphrec.importers.tzrec.table_settings import default_text, table_settings

__all__ = ["bucket_feature", "dense_settings"]


def bucket_feature(section: Section, reading: Reading) -> Feature:
    """A number with `boundaries`; where data is encoded, its column holds numbers of buckets."""
    edges = sorted(set(section.numbers("boundaries")))
    several = (section.integer("value_dim") or 1) > 1
    if reading.encoded:
        what = "encoded data: the column holds numbers of buckets, boundaries are not used"
        section.remark("boundaries", what, "fg_mode: FG_NONE")
        draft = Feature("id", table_settings(section, len(edges) + 1), section.span)
    else:
        draft = Feature("bucket", {"edges": edges, **table_settings(section, None)}, section.span)
    if reading.step or not several:
        draft.settings.pop("pool", None)
        section.ignore("separator")
    else:
        draft.settings.setdefault("pool", "sum")
        draft.settings["sep"] = section.text("separator") or reading.sep
    default = default_text(section, reading)
    if default is not None and not reading.step and is_number(default):
        draft.settings["default"] = int(float(default)) if reading.encoded else float(default)
    _normalizer(section, reading, allowed=False)
    return draft


def dense_settings(section: Section, reading: Reading) -> dict[str, Any]:
    """Settings of a number, or of several, that is not cut into buckets."""
    settings: dict[str, Any] = {}
    width, dim = section.integer("value_dim") or 1, section.integer("embedding_dim")
    section.ignore("pooling", "embedding_name")
    if width > 1:
        settings["width"] = width
        if not reading.step:
            settings["sep"] = section.text("separator") or reading.sep
    section.ignore("separator")
    settings |= _normalizer(section, reading, allowed=True)
    default = default_text(section, reading)
    if default is not None and is_number(default) and float(default) and not reading.step:
        settings["default"] = float(default)
    autodis, mlp, linear = (section.section(name) for name in ("autodis", "mlp", "linear"))
    if dim and (autodis or mlp or linear):
        if reading.step or (width > 1 and autodis is not None):
            kind = "of numbers in a history" if reading.step else "of several numbers by autodis"
            what = f"an embedding {kind} has no counterpart: as they are"
            section.notes.add(section.span, what)
        elif autodis is not None:
            channels = autodis.integer("num_channels") or dim
            temperature = autodis.number("temperature", 0.1)
            skip = autodis.number("keep_prob", 0.8)
            inner = {"channels": channels, "temperature": temperature, "skip": skip}
            settings |= {"dim": dim, "autodis": inner}
        else:
            settings["dim"] = dim
        if mlp is not None and settings.get("dim"):
            section.notes.add(section.span, "mlp embedding: the numbers times a learned matrix")
    return settings


def _normalizer(section: Section, reading: Reading, *, allowed: bool) -> dict[str, Any]:
    """`method=zscore,mean=0,standard_deviation=10` -> transform and stats."""
    written = section.text("normalizer")
    if not written or reading.encoded:
        return {}
    given = dict(part.strip().split("=", 1) for part in written.split(",") if "=" in part)
    method = given.get("method", "")
    numbers = {key: float(value) for key, value in given.items() if is_number(value)}
    if not allowed:
        pass
    elif method == "zscore" and numbers.get("standard_deviation", 0) > 0:
        stats = [numbers.get("mean", 0.0), numbers["standard_deviation"]]
        return {"transform": "zscore", "stats": stats}
    elif method == "minmax" and numbers.get("max", 0) > numbers.get("min", 0):
        return {"transform": "minmax", "stats": [numbers.get("min", 0.0), numbers["max"]]}
    elif "log" in written:
        section.remark("normalizer", f"normalizer: {written} becomes transform: log1p")
        return {"transform": "log1p"}
    section.remark("normalizer", f"normalizer: {written} has no counterpart")
    return {}
