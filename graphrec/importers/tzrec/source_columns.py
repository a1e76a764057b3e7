"""One feature of a config -> one feature of a recipe."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from graphrec.errors import Span
from graphrec.importers.tzrec.section import Section

__all__ = ["Feature", "Reading", "feature_of"]

_DIM = 16
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
_LEARNT = ("vocab_list", "vocab_dict", "vocab_file", "zch", "dynamicemb")


@dataclass
class Feature:
    """A feature in the making: its settings as a family of a recipe has them."""

    type: str
    settings: dict[str, Any]
    span: Span
    name: str = ""

    @property
    def width(self) -> int:
        """Width of what a group gives of it."""
        wide = self.settings.get("dim") or self.settings.get("width") or 1
        return int(wide)

    def same_table(self, other: Feature) -> bool:
        """Whether both can be looked up in one table (or are the same kind of number)."""
        kinds = ("vocab", "edges", "dim", "width", "transform", "stats", "autodis")
        alike = all(self.settings.get(key) == other.settings.get(key) for key in kinds)
        return self.type == other.type and alike


@dataclass(frozen=True)
class Reading:
    """How columns are to be understood: already encoded, or as a step of a history."""

    encoded: bool
    step: bool = False


def feature_of(kind: str, section: Section, reading: Reading) -> Feature:
    """The feature that a message such as `id_feature { ... }` describes, still without a name."""
    place = _source(kind, section, reading)
    if kind not in ("id_feature", "raw_feature", "combo_feature") and kind not in _COMPUTED:
        section.notes.add(section.span, f"`{kind}` is not known: read as a column of its name")
    if kind == "combo_feature" and not reading.encoded and not reading.step:
        made = Feature("cross", _looked(section, _vocab(section, reading)), section.span)
        if not str(made.settings["vocab"]).startswith("hash("):
            section.notes.add(section.span, "combinations are hashed: into 1_000_000 rows")
            made.settings["vocab"] = "hash(1_000_000)"
        made.settings.pop("pool", None)
        place.pop("column", None)
        section.ignore("default_value")
    elif _is_id(kind, section):
        made = Feature("id", _looked(section, _vocab(section, reading)), section.span)
        _id_values(kind, section, reading, made.settings)
    elif "boundaries" in section:
        made = _bucket(section, reading)
    else:
        made = Feature("dense", _dense(section, reading), section.span)
    if section.flag("stub_type"):
        section.notes.add(section.span, "a feature with stub_type only serves others")
    made.settings |= place
    return made


def _is_id(kind: str, section: Section) -> bool:
    if kind in ("id_feature", "combo_feature", "tokenize_feature"):
        return True
    return any(name in section for name in (*_LEARNT, "num_buckets", "hash_bucket_size"))


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


# ---- looked up --------------------------------------------------------------------------------


def _looked(section: Section, vocab: int | str | None) -> dict[str, Any]:
    dim = section.integer("embedding_dim")
    if dim is None or dim < 1:
        section.remark("embedding_dim", f"embedding_dim is not given: {_DIM}")
        dim = _DIM
    settings: dict[str, Any] = {} if vocab is None else {"vocab": vocab}
    settings["dim"] = dim
    if section.text("pooling"):
        settings["pool"] = "mean" if section.text("pooling") == "mean" else "sum"
    if section.text("embedding_name"):
        settings["share"] = section.text("embedding_name")
    init = _init(section)
    if init:
        settings["init"] = init
    if not section.flag("trainable", True):
        settings["trainable"] = False
    kind = section.text("data_type", "FP32").upper()
    if kind == "BF16":
        settings["dtype"] = "bf16"
    elif kind != "FP32":
        section.remark("data_type", f"data_type: {kind} has no counterpart: tables are fp32")
    return settings


def _vocab(section: Section, reading: Reading) -> int | str:
    rows, hashed = section.integer("num_buckets"), section.integer("hash_bucket_size")
    if rows:
        return rows
    listed = section.count("vocab_list") or section.count("vocab_dict")
    if reading.encoded and (hashed or listed):
        # the row of the default value and that of unknown ones stand before the list
        extra = 0 if hashed or "default_bucketize_value" in section else 2
        section.ignore("default_bucketize_value", "vocab_list", "vocab_dict")
        what = "encoded data: the column holds row numbers, nothing is hashed or looked up"
        section.notes.add(section.span, what, "fg_mode: FG_NONE")
        return hashed or listed + extra
    if hashed:
        return f"hash({hashed:_})"
    for name in _LEARNT:
        if name in section:
            what = f"{name} has no counterpart: the values are learnt from the training data"
            section.remark(name, what, "or name a file: vocab: file(values.txt)")
            return "fit"
    section.notes.add(section.span, "no vocabulary is given: learnt from the training data")
    return "fit"


def _id_values(kind: str, section: Section, reading: Reading, settings: dict[str, Any]) -> None:
    """What a column of ids may hold: several values, weights, nulls."""
    several = kind == "tokenize_feature" or (section.integer("value_dim") or 1) > 1
    sep = section.text("separator")
    if reading.step:
        settings.pop("pool", None)
        if several or sep:
            section.notes.add(section.span, "several values in one step are not imported: one each")
    elif several or sep or section.flag("weighted"):
        settings.setdefault("pool", "sum")
    if sep and not reading.step:
        settings["sep"] = sep
    if section.flag("weighted"):
        what = "weights inside the values (`id:0.5`) have no counterpart: a column of their own"
        section.remark("weighted", what, "weights: COLUMN")
    default = _default(section, reading)
    if default is not None and not reading.step:
        is_row = isinstance(settings.get("vocab"), int)
        settings["default"] = int(default) if is_row and default.isdigit() else default
        if is_row and not default.isdigit():
            section.notes.add(section.span, f"default_value {default!r} is no row number: left out")
            del settings["default"]


def _default(section: Section, reading: Reading) -> str | None:
    """What stands for nulls, as a text."""
    said = section.text("fg_encoded_default_value" if reading.encoded else "default_value")
    if reading.encoded:
        section.ignore("default_value")
    return said or None


def _init(section: Section) -> str | None:
    """`nn.init.normal_,mean=0,std=0.01` -> normal(0.01)."""
    said = section.text("init_fn")
    if not said:
        return None
    name, *rest = (part.strip() for part in said.split(","))
    given = dict(part.replace(" ", "").split("=", 1) for part in rest if "=" in part)
    numbers = {key: float(value) for key, value in given.items() if _is_number(value)}
    kind = name.rpartition(".")[2].rstrip("_")
    if kind == "normal" and not numbers.get("mean"):
        return f"normal({numbers.get('std', 1.0):g})"
    if kind == "uniform" and numbers.get("a", 0.0) == -numbers.get("b", 1.0):
        return f"uniform({numbers['b']:g})"
    if kind == "zeros" or (kind == "constant" and numbers.get("val") == 0):
        return "zeros"
    section.remark("init_fn", f"init_fn: {said[:60]} has no counterpart: normal(0.01)")
    return None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?", text) is not None


# ---- numbers ----------------------------------------------------------------------------------


def _bucket(section: Section, reading: Reading) -> Feature:
    edges = sorted(set(section.numbers("boundaries")))
    several = (section.integer("value_dim") or 1) > 1
    if reading.encoded:
        what = "encoded data: the column holds numbers of buckets, boundaries are not used"
        section.remark("boundaries", what, "fg_mode: FG_NONE")
        made = Feature("id", _looked(section, len(edges) + 1), section.span)
    else:
        made = Feature("bucket", {"edges": edges, **_looked(section, None)}, section.span)
    if reading.step or not several:
        made.settings.pop("pool", None)
    else:
        made.settings.setdefault("pool", "sum")
        if section.text("separator"):
            made.settings["sep"] = section.text("separator")
    default = _default(section, reading)
    if default is not None and not reading.step and _is_number(default):
        made.settings["default"] = int(float(default)) if reading.encoded else float(default)
    _normalizer(section, reading, allowed=False)
    return made


def _dense(section: Section, reading: Reading) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    width, dim = section.integer("value_dim") or 1, section.integer("embedding_dim")
    section.ignore("pooling", "embedding_name")
    if width > 1:
        settings["width"] = width
        if section.text("separator") and not reading.step:
            settings["sep"] = section.text("separator")
    settings |= _normalizer(section, reading, allowed=True)
    default = _default(section, reading)
    if default is not None and _is_number(default) and float(default) and not reading.step:
        settings["default"] = float(default)
    autodis, mlp = section.section("autodis"), section.section("mlp")
    if dim and (autodis or mlp):
        if width > 1 or reading.step:
            what = "an embedding of several numbers, or in a history, has no counterpart: as it is"
            section.notes.add(section.span, what)
        elif autodis is not None:
            channels = autodis.integer("num_channels") or dim
            temperature = autodis.number("temperature", 0.1)
            skip = autodis.number("keep_prob", 0.8)
            inner = {"channels": channels, "temperature": temperature, "skip": skip}
            settings |= {"dim": dim, "autodis": inner}
        else:
            settings["dim"] = dim
            section.notes.add(section.span, "mlp embedding: the number times a learned vector")
    return settings


def _normalizer(section: Section, reading: Reading, *, allowed: bool) -> dict[str, Any]:
    """`method=zscore,mean=0,standard_deviation=10` -> transform and stats."""
    said = section.text("normalizer")
    if not said or reading.encoded:
        return {}
    given = dict(part.strip().split("=", 1) for part in said.split(",") if "=" in part)
    method = given.get("method", "")
    numbers = {key: float(value) for key, value in given.items() if _is_number(value)}
    if not allowed:
        pass
    elif method == "zscore" and numbers.get("standard_deviation", 0) > 0:
        stats = [numbers.get("mean", 0.0), numbers["standard_deviation"]]
        return {"transform": "zscore", "stats": stats}
    elif method == "minmax" and numbers.get("max", 0) > numbers.get("min", 0):
        return {"transform": "minmax", "stats": [numbers.get("min", 0.0), numbers["max"]]}
    elif "log" in said:
        section.remark("normalizer", f"normalizer: {said} becomes transform: log1p")
        return {"transform": "log1p"}
    section.remark("normalizer", f"normalizer: {said} has no counterpart")
    return {}
