"""`feature_config { features { feature_type: IdFeature ... } }` -> one message for each kind."""

from __future__ import annotations

from collections.abc import Mapping

from graphrec.ground.errors import Problem, RecipeError, Span
from graphrec.importers.easyrec.message_parts import (
    entries,
    message,
    nested,
    rest,
    text,
    texts,
    value,
)
from graphrec.importers.tzrec.textproto import Entry, Message, Word

__all__ = ["feature_messages"]

_KINDS = {
    "ComboFeature": "combo_feature",
    "ExprFeature": "expr_feature",
    "IdFeature": "id_feature",
    "LookupFeature": "lookup_feature",
    "RawFeature": "raw_feature",
    "SequenceFeature": "sequence_id_feature",
    "TagFeature": "id_feature",
}
_NAMES = {"combiner": "pooling", "raw_input_dim": "value_dim"}
_TAKEN = (
    *("feature_name", "feature_type", "input_names", "shared_names", "separator", "min_val"),
    *("max_val", "max_seq_len", "sequence_length", "sub_feature_type", "seq_multi_sep"),
)
_SEPARATOR = "|"


def feature_messages(config: Message, histories: set[str]) -> list[Entry]:
    """`feature_configs` entries for all features; `histories` are read step by step."""
    written = [entry for group in entries(config, "feature_config") for entry in _features(group)]
    written += entries(config, "feature_configs")
    defaults = _defaults(config)
    messages: list[Entry] = []
    for entry in written:
        if not isinstance(entry.value, Message):
            what = "feature_config: expected a message: features { ... }"
            raise RecipeError(Problem("GR131", what, entry.span))
        for name in (None, *texts(entry.value, "shared_names")):
            feature = _feature(entry.value, name, histories, defaults)
            messages.append(Entry("feature_configs", message([feature], entry.span), entry.span))
    return messages


def _features(group: Entry) -> list[Entry]:
    return entries(group.value, "features") if isinstance(group.value, Message) else [group]


def _defaults(config: Message) -> dict[str, Entry]:
    """Column -> what stands for its nulls."""
    data = nested(config, "data_config")
    fields = entries(data, "input_fields") if data is not None else []
    defaults: dict[str, Entry] = {}
    for field in fields:
        if isinstance(field.value, Message) and text(field.value, "default_val"):
            place = entries(field.value, "default_val")[-1]
            defaults[text(field.value, "input_name")] = place
    return defaults


def _feature(
    source: Message, shared: str | None, histories: set[str], defaults: Mapping[str, Entry]
) -> Entry:
    columns = [shared] if shared is not None else texts(source, "input_names")
    name = columns[0] if shared is not None else text(source, "feature_name")
    name = name or (columns[0] if columns else "")
    if not name:
        what = "a feature needs input_names or feature_name"
        raise RecipeError(Problem("GR131", what, source.span))
    written = text(source, "feature_type", "IdFeature")
    if written not in _KINDS:
        what = f"feature_type {written} of `{name}` has no counterpart"
        help = f"those that have: {', '.join(_KINDS)}"
        raise RecipeError(Problem("GR131", what, source.span, help=help))
    kind = _KINDS[written]
    if written == "SequenceFeature" or name in histories:
        kind = "sequence_id_feature"
        if text(source, "sub_feature_type") == "RawFeature" or written == "RawFeature":
            kind = "sequence_raw_feature"
    span = source.span
    parts = [Entry("feature_name", name, span), *_columns(kind, columns, span)]
    for entry in rest(source, _TAKEN):
        if entry.name == "embedding_dim" and entry.value == 0:
            continue
        if entry.name == "kv_separator":
            parts.append(Entry("weighted", Word("true"), entry.span))
        parts.append(Entry(_NAMES.get(entry.name, entry.name), entry.value, entry.span))
    parts += _form(source, written, kind, columns)
    default = defaults.get(columns[0]) if len(columns) == 1 else None
    if default is not None and not kind.startswith("sequence_"):
        parts.append(Entry("default_value", default.value, default.span))
    return Entry(kind, message(parts, span), span)


def _columns(kind: str, columns: list[str], span: Span) -> list[Entry]:
    if kind == "lookup_feature":
        names = ("map", "key")
        return [Entry(n, c, span) for n, c in zip(names, columns, strict=False)]
    several = kind in ("combo_feature", "expr_feature")
    return [Entry("expression", column, span) for column in (columns if several else columns[:1])]


def _form(source: Message, written: str, kind: str, columns: list[str]) -> list[Entry]:
    """How values lie in a column: separators, lengths, scales, weights."""
    span = source.span
    sep = text(source, "separator") or _SEPARATOR
    if kind.startswith("sequence_"):
        length = value(source, "max_seq_len") or value(source, "sequence_length")
        parts = [Entry("sequence_delim", sep, span)]
        parts += [Entry("sequence_length", length, span)] if length is not None else []
        inner = text(source, "seq_multi_sep")
        parts += [Entry("separator", inner, span)] if inner else []
        parts += [] if value(source, "combiner") else [Entry("pooling", "mean", span)]
        return parts
    if written == "TagFeature":
        parts = [Entry("separator", sep, span), Entry("value_dim", 0, span)]
        parts += [] if value(source, "combiner") else [Entry("pooling", "mean", span)]
        return parts + [Entry("weights_column", column, span) for column in columns[1:2]]
    if written == "RawFeature":
        return _number(source, sep)
    return [Entry("value_dim", 1, span)]


def _number(source: Message, sep: str) -> list[Entry]:
    span, parts = source.span, []
    low, high = value(source, "min_val") or 0.0, value(source, "max_val") or 0.0
    if isinstance(low, int | float) and isinstance(high, int | float) and high > low:
        place = entries(source, "max_val")[-1].span
        parts.append(Entry("normalizer", f"method=minmax,min={low},max={high}", place))
    if (value(source, "raw_input_dim") or 1) != 1:
        parts.append(Entry("separator", sep, span))
    looked_up = any(
        value(source, name) for name in ("boundaries", "hash_bucket_size", "num_buckets")
    )
    if value(source, "embedding_dim") and not looked_up:
        parts.append(Entry("linear", message([], span), span))
    return parts
