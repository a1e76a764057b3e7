"""Feature groups -> the same groups, with their pairs of query and history as encoders."""

from __future__ import annotations

from graphrec.ground.errors import Span
from graphrec.importers.easyrec.message_parts import entries, message, nested, rest, text, texts
from graphrec.importers.easyrec.perceptron_messages import perceptron_message
from graphrec.importers.tzrec.textproto import Entry, Message, Word

__all__ = ["attention_mlp", "group_messages", "history_names"]

_HISTORIES = ("hist_seq", "aux_hist_seq")
_USUAL = (128, 64, 32)  # layers that score steps where `seq_dnn` says nothing


def history_names(config: Message) -> set[str]:
    """The features that some `seq_att_map` reads step by step."""
    model = nested(config, "model_config")
    if model is None:
        return set()
    pairs = entries(model, "seq_att_groups")
    for group in entries(model, "feature_groups"):
        if isinstance(group.value, Message):
            pairs += entries(group.value, "sequence_features")
    maps = [
        m for p in pairs if isinstance(p.value, Message) for m in entries(p.value, "seq_att_map")
    ]
    inner = [m.value for m in maps if isinstance(m.value, Message)]
    return {
        name for part in inner for name in (*texts(part, "hist_seq"), *texts(part, "aux_hist_seq"))
    }


def group_messages(model: Message, towers: set[str]) -> list[Entry]:
    """`feature_groups`; pairs that no tower of `towers` reads join the first group."""
    groups: list[Entry] = []
    alone = [e for e in entries(model, "seq_att_groups") if isinstance(e.value, Message)]
    joined = [e for e in alone if not towers & set(texts(_message(e), "group_name"))]
    for number, entry in enumerate(entries(model, "feature_groups")):
        if not isinstance(entry.value, Message):
            groups.append(entry)
            continue
        pairs = [*entries(entry.value, "sequence_features"), *(joined if number == 0 else [])]
        groups.append(Entry("feature_groups", _group(entry.value, pairs), entry.span))
    for entry in alone:
        if entry in joined:
            continue
        groups += _pair(_message(entry), entry.span)
    return groups


def _message(entry: Entry) -> Message:
    assert isinstance(entry.value, Message)
    return entry.value


def _group(source: Message, pairs: list[Entry]) -> Message:
    parts = rest(source, ("wide_deep", "sequence_features"))
    kind = "WIDE" if text(source, "wide_deep") == "WIDE" else "DEEP"
    parts.append(Entry("group_type", Word(kind), source.span))
    known = set(texts(source, "feature_names"))
    for number, pair in enumerate(pairs):
        inner = pair.value
        if not isinstance(inner, Message):
            continue
        name = text(inner, "group_name") or f"{text(source, 'group_name')}_seq{number + 1}"
        keys, steps = _members(inner)
        # The target stands beside what it finds in the history.
        parts += [Entry("feature_names", key, pair.span) for key in keys if key not in known]
        known |= set(keys)
        listed = [Entry("feature_names", member, pair.span) for member in (*keys, *steps)]
        unknown = rest(inner, ("group_name", "seq_att_map", "seq_dnn", "tf_summary"))
        group = [Entry("group_name", name, pair.span), *listed, *unknown]
        parts.append(Entry("sequence_groups", message(group, pair.span), pair.span))
        mlp = Entry("attn_mlp", attention_mlp(nested(inner, "seq_dnn"), pair.span), pair.span)
        encoder = Entry(
            "din_encoder", message([Entry("input", name, pair.span), mlp], pair.span), pair.span
        )
        parts.append(Entry("sequence_encoders", message([encoder], pair.span), pair.span))
    return message(parts, source.span)


def _pair(source: Message, span: Span) -> list[Entry]:
    """A SEQUENCE group that a tower reads, and a group of its query for the tower beside it."""
    name = text(source, "group_name")
    keys, steps = _members(source)
    listed = [Entry("feature_names", member, span) for member in (*keys, *steps)]
    group = [Entry("group_name", name, span), *listed, Entry("group_type", Word("SEQUENCE"), span)]
    group += rest(source, ("group_name", "seq_att_map", "tf_summary"))
    query = [Entry("group_name", f"{name}_query", span), Entry("group_type", Word("DEEP"), span)]
    query += [Entry("feature_names", key, span) for key in keys]
    return [
        Entry("feature_groups", message(group, span), span),
        Entry("feature_groups", message(query, span), span),
    ]


def _members(source: Message) -> tuple[list[str], list[str]]:
    """(keys, histories) of every `seq_att_map`, each once."""
    maps = [e.value for e in entries(source, "seq_att_map") if isinstance(e.value, Message)]
    keys = [name for part in maps for name in texts(part, "key")]
    steps = [name for part in maps for name in texts(part, "hist_seq")]
    return list(dict.fromkeys(keys)), list(dict.fromkeys(steps))


def attention_mlp(dnn: Message | None, span: Span) -> Message:
    """The perceptron that scores steps: a last layer of 1 is the score itself."""
    if dnn is None:
        layers = [Entry("hidden_units", width, span) for width in _USUAL]
        return message([*layers, Entry("use_bn", Word("true"), span)], span)
    widths = entries(dnn, "hidden_units")
    if len(widths) > 1 and widths[-1].value == 1:
        dnn = message([entry for entry in dnn.entries if entry is not widths[-1]], dnn.span)
    return perceptron_message(dnn)
