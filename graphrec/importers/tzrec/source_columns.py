"""One feature of a config -> one feature of a recipe."""

from __future__ import annotations

from typing import Any

from graphrec.importers.tzrec.feature_draft import Feature, Reading
from graphrec.importers.tzrec.number_settings import bucket_feature, dense_settings
from graphrec.importers.tzrec.section import Section
from graphrec.importers.tzrec.table_settings import (
    LEARNT,
    id_settings,
    table_settings,
    vocabulary,
)

__all__ = ["feature_of"]

_SIDES = ("user", "item", "context")
_COMPUTED = {
    "bool_mask_feature": ("expression",),
    "combine_feature": ("expression", "value_map", "combiner"),
    "custom_feature": ("expression", "operator_name", "operator_lib_file", "operator_params"),
    "expr_feature": ("expression", "variables", "fill_missing"),
    "kv_dot_product": ("query", "document", "kv_delimiter"),
    "lookup_feature": ("map", "key", "combiner", "need_discrete", "need_key", "value_separator"),
    "match_feature": ("nested_map", "pkey", "skey", "need_discrete", "show_pkey", "show_skey"),
    "overlap_feature": ("query", "title", "method"),
    "tokenize_feature": ("expression", "text_normalizer", "tokenizer_type"),
}
"""Features computed from other columns, and the settings that say how."""


def feature_of(kind: str, section: Section, reading: Reading) -> Feature:
    """The feature that a message such as `id_feature { ... }` describes, still without a name."""
    place = _source(kind, section, reading)
    if kind not in ("id_feature", "raw_feature", "combo_feature") and kind not in _COMPUTED:
        section.notes.add(section.span, f"`{kind}` is not known: read as a column of its name")
    if kind == "combo_feature" and not reading.encoded and not reading.step:
        draft = _combination(section, reading)
        place.pop("column", None)
    elif _is_id(kind, section):
        settings = table_settings(section, vocabulary(section, reading))
        draft = Feature("id", settings, section.span)
        id_settings(kind, section, reading, draft.settings)
    elif "boundaries" in section:
        draft = bucket_feature(section, reading)
    else:
        draft = Feature("dense", dense_settings(section, reading), section.span)
    if section.flag("stub_type"):
        section.notes.add(section.span, "a feature with stub_type only serves others")
    draft.settings |= place
    draft.pooling = "mean" if section.text("pooling") == "mean" else "sum"
    return draft


def _combination(section: Section, reading: Reading) -> Feature:
    """A combination of columns, hashed; which columns is told from `expression` later."""
    draft = Feature("cross", table_settings(section, vocabulary(section, reading)), section.span)
    if not str(draft.settings["vocab"]).startswith("hash("):
        section.notes.add(section.span, "combinations are hashed: into 1_000_000 rows")
        draft.settings["vocab"] = "hash(1_000_000)"
    draft.settings.pop("pool", None)
    section.ignore("default_value", "separator", "value_dim")
    return draft


def _is_id(kind: str, section: Section) -> bool:
    if kind in ("id_feature", "combo_feature", "tokenize_feature"):
        return True
    return any(name in section for name in (*LEARNT, "num_buckets", "hash_bucket_size"))


def _source(kind: str, section: Section, reading: Reading) -> dict[str, Any]:
    """`column` and `side`, from `expression: "user:age"`."""
    name = section.text("feature_name")
    if kind in _COMPUTED and not reading.encoded and kind != "tokenize_feature":
        section.ignore(*_COMPUTED[kind])
        what = f"{kind} is not computed here: a column of the feature's name must hold its values"
        section.notes.add(section.span, what)
        return {}
    if kind in _COMPUTED:
        section.ignore(*_COMPUTED[kind])
    expressions = section.texts("expression")
    if not expressions or kind == "combo_feature":
        return {}
    side, _, column = expressions[0].rpartition(":")
    place: dict[str, Any] = {}
    if side in _SIDES:
        place["side"] = side
    elif side:
        what = f"{section.path}: `{side}:` is the result of another feature: the column is read"
        section.remark("expression", what)
    if column != name and not reading.encoded:
        place["column"] = column
    return place
