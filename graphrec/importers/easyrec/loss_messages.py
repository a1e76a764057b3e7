"""Losses, metrics and task towers."""

from __future__ import annotations

from graphrec.ground.errors import Span
from graphrec.importers.easyrec.message_parts import entries, message, rest, text, value
from graphrec.importers.easyrec.perceptron_messages import perceptron_message
from graphrec.importers.tzrec.section import Notes
from graphrec.importers.tzrec.textproto import Entry, Message

__all__ = ["loss_entries", "metric_entries", "task_tower"]

_LOSSES = {
    "BINARY_CROSS_ENTROPY_LOSS": "binary_cross_entropy",
    "BINARY_FOCAL_LOSS": "binary_focal_loss",
    "CROSS_ENTROPY_LOSS": "binary_cross_entropy",
    "JRC_LOSS": "jrc_loss",
    "L2_LOSS": "l2_loss",
    "SOFTMAX_CROSS_ENTROPY": "softmax_cross_entropy",
}
_METRICS = {
    "gauc": ("grouped_auc", "uid_field"),
    "session_auc": ("grouped_auc", "session_id_field"),
}
_SETTINGS = ("binary_focal_loss", "jrc_loss")


def loss_entries(source: Message, notes: Notes) -> list[Entry]:
    """`losses` of a model or tower, from `losses` or `loss_type`."""
    several = (value(source, "num_class") or 1) != 1
    losses: list[Entry] = []
    for entry in entries(source, "losses"):
        if isinstance(entry.value, Message):
            losses.append(_loss(entry.value, entry.span, several, notes))
    if not losses:
        place = (entries(source, "loss_type") or [Entry("", "", source.span)])[-1].span
        losses.append(_named(text(source, "loss_type", "CLASSIFICATION"), None, place, several))
    return losses


def _loss(source: Message, span: Span, several: bool, notes: Notes) -> Entry:
    weight = value(source, "weight")
    if isinstance(weight, int | float) and weight != 1:
        notes.add(span, f"weight {weight:g} of a loss has no counterpart: losses are summed")
    name = text(source, "loss_type", "CLASSIFICATION")
    inner = value(source, _LOSSES.get(name, "")) if name in _LOSSES else None
    return _named(name, inner if isinstance(inner, Message) else None, span, several)


def _named(name: str, settings: Message | None, span: Span, several: bool) -> Entry:
    usual = "softmax_cross_entropy" if several else "binary_cross_entropy"
    kind = usual if name == "CLASSIFICATION" else _LOSSES.get(name, name.lower())
    inner = settings if settings is not None else message([], span)
    return Entry("losses", message([Entry(kind, inner, span)], span), span)


def metric_entries(sets: list[Entry]) -> list[Entry]:
    """`metrics` from `metrics_set`."""
    metrics = []
    for entry in sets:
        if not isinstance(entry.value, Message):
            continue
        parts = []
        for metric in entry.value.entries:
            name, key = _METRICS.get(metric.name, (metric.name, ""))
            inner = metric.value
            if key and isinstance(inner, Message):
                group = Entry("grouping_key", text(inner, key), metric.span)
                inner = message([group, *rest(inner, (key,))], inner.span)
            parts.append(Entry(name, inner, metric.span))
        metrics.append(Entry("metrics", message(parts, entry.span), entry.span))
    return metrics


def task_tower(source: Message, notes: Notes, usual: list[Entry]) -> Message:
    """A tower of one task; `usual` are the metrics where it names none."""
    parts = rest(source, ("dnn", "relation_dnn", "losses", "loss_type", "metrics_set"))
    for old, new in (("dnn", "mlp"), ("relation_dnn", "relation_mlp")):
        for entry in entries(source, old):
            if isinstance(entry.value, Message):
                parts.append(Entry(new, perceptron_message(entry.value), entry.span))
    parts += loss_entries(source, notes)
    parts += metric_entries(entries(source, "metrics_set") or usual)
    return message(parts, source.span)
