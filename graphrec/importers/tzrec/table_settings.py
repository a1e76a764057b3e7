"""What a feature says of its table: rows, width, start values; and what its column may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphrec.importers.tzrec.feature_draft import Reading, is_number
from graphrec.importers.tzrec.section import Section
from graphrec.importers.tzrec.vocabulary_lists import listed_values

__all__ = ["LEARNT", "id_settings", "table_settings", "vocabulary"]

LEARNT = ("vocab_list", "vocab_dict", "vocab_file", "zch", "dynamicemb")
"""Fields that say what values there are, and so that the feature has a table."""
_DIM = 16
_WHY: Mapping[str, str] = {
    "vocab_file": "copy the file beside the recipe: vocab: file(values.txt)",
    "zch": "a table of fixed size: vocab: hash(N)",
    "dynamicemb": "a table of fixed size: vocab: hash(N)",
}


def table_settings(section: Section, vocab: int | str | None) -> dict[str, Any]:
    """Settings of the table of a feature that is looked up."""
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


def vocabulary(section: Section, reading: Reading) -> int | str:
    """The `vocab` of an id feature; values listed in the config become a file beside the recipe."""
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
    if listed:
        return listed_values(section)
    for name in LEARNT:
        if name in section:
            what = f"{name} has no counterpart: the values are learnt from the training data"
            section.remark(name, what, _WHY.get(name, ""))
            return "fit"
    section.notes.add(section.span, "no vocabulary is given: learnt from the training data")
    return "fit"


def id_settings(kind: str, section: Section, reading: Reading, settings: dict[str, Any]) -> None:
    """What a column of ids may hold: several values, weights, nulls."""
    several = _several(kind, section, reading)
    if reading.step:
        settings.pop("pool", None)
        if several:
            section.notes.add(section.span, "several values in one step are not imported: one each")
    elif several:
        settings.setdefault("pool", "sum")
        settings["sep"] = section.text("separator") or reading.sep
    else:
        settings.pop("pool", None)  # one value is its own sum and mean
    if section.text("weights_column"):
        settings["weights"] = section.text("weights_column")
    if section.flag("weighted"):
        mark = section.text("kv_separator") or ":"
        if reading.step or mark != ":":
            what = f"weights inside the values (`id{mark}0.5`) have no counterpart here"
            section.remark("weighted", what, "weights: COLUMN")
        else:
            settings["weights"] = "inside"
            section.remark("weighted", "weights inside the values, `id:0.5`: weights: inside")
    default = default_text(section, reading)
    if default is not None and not reading.step:
        is_row = isinstance(settings.get("vocab"), int)
        settings["default"] = int(default) if is_row and default.isdigit() else default
        if is_row and not default.isdigit():
            section.notes.add(section.span, f"default_value {default!r} is no row number: left out")
            del settings["default"]


def _several(kind: str, section: Section, reading: Reading) -> bool:
    """Whether a column may hold several ids: it may, unless `value_dim: 1` says that it does not.

    A step of a history holds one, unless its `value_dim` or `separator` says otherwise.
    """
    width = section.integer("value_dim")
    if kind == "tokenize_feature" or width is not None:
        return kind == "tokenize_feature" or width != 1
    return not reading.step or "separator" in section


def default_text(section: Section, reading: Reading) -> str | None:
    """What stands for nulls, as a text."""
    default = section.text("fg_encoded_default_value" if reading.encoded else "default_value")
    if reading.encoded:
        section.ignore("default_value")
    return default or None


def _init(section: Section) -> str | None:
    """`nn.init.normal_,mean=0,std=0.01` -> normal(0.01)."""
    written = section.text("init_fn")
    if not written:
        return None
    name, *rest = (part.strip() for part in written.split(","))
    given = dict(part.replace(" ", "").split("=", 1) for part in rest if "=" in part)
    numbers = {key: float(value) for key, value in given.items() if is_number(value)}
    kind = name.rpartition(".")[2].rstrip("_")
    if kind == "normal" and not numbers.get("mean"):
        return f"normal({numbers.get('std', 1.0):g})"
    if kind == "uniform" and numbers.get("a", 0.0) == -numbers.get("b", 1.0):
        return f"uniform({numbers['b']:g})"
    if kind == "zeros" or (kind == "constant" and numbers.get("val") == 0):
        return "zeros"
    section.remark("init_fn", f"init_fn: {written[:60]} has no counterpart: normal(0.01)")
    return None
