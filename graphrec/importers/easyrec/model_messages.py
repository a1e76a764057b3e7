"""A whole config, and the model by its class."""

from __future__ import annotations

from collections.abc import Mapping

from graphrec.ground.errors import Problem, RecipeError
from graphrec.importers.easyrec.feature_messages import feature_messages
from graphrec.importers.easyrec.group_messages import attention_mlp, group_messages, history_names
from graphrec.importers.easyrec.loss_messages import loss_entries, metric_entries, task_tower
from graphrec.importers.easyrec.message_parts import (
    entries,
    message,
    nested,
    renamed,
    rest,
    text,
    value,
)
from graphrec.importers.easyrec.name_ranges import expanded
from graphrec.importers.easyrec.perceptron_messages import perceptron_message
from graphrec.importers.easyrec.train_messages import data_message, train_message
from graphrec.importers.tzrec.section import Notes
from graphrec.importers.tzrec.textproto import Entry, Message

__all__ = ["is_easyrec", "translated"]

_DEEP = {"dnn": "deep", "final_dnn": "final", "wide_output_dim": "wide_embedding_dim"}
_TASKS = {"bottom_dnn": "bottom_mlp", "expert_dnn": "expert_mlp"}
_MODELS: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "AutoInt": ("autoint", "autoint", {}),
    "DBMTL": ("dbmtl", "dbmtl", _TASKS),
    "DCN": ("dcn", "dcn", {"final_dnn": "final"}),
    "DLRM": ("dlrm", "dlrm", {"bot_dnn": "dense_mlp", "top_dnn": "final"}),
    "DeepFM": ("deepfm", "deepfm", _DEEP),
    "ESMM": ("esmm", "esmm", {"ctr_tower": "task_towers", "cvr_tower": "task_towers"}),
    "FM": ("fm", "fm", {}),
    "MMoE": ("mmoe", "mmoe", _TASKS),
    "MultiTower": ("multi_tower", "multi_tower", {"final_dnn": "final"}),
    "MultiTowerDIN": ("multi_tower", "multi_tower_din", {"final_dnn": "final"}),
    "PLE": ("ple", "ple", {}),
    "RocketLaunching": (
        "rocket_launching",
        "rocket_launching",
        {"share_dnn": "share_mlp", "booster_dnn": "booster_mlp", "light_dnn": "light_mlp"},
    ),
    "SimpleMultiTask": ("simple_multi_task", "simple_multi_task", {}),
    "WideAndDeep": ("wide_and_deep", "wide_and_deep", _DEEP),
}
"""model_class -> (its message there, here, and other names of its fields)."""
_NETS = {"task_expert_net": "task_expert_net", "share_expert_net": "share_expert_net"}
_MULTITASK = ("DBMTL", "ESMM", "MMoE", "PLE", "SimpleMultiTask")


def is_easyrec(config: Message) -> bool:
    """Whether a config is one of EasyRec: it names a class, or its features a type."""
    model = nested(config, "model_config")
    if model is not None and entries(model, "model_class"):
        return True
    features = [e.value for e in entries(config, "feature_configs") if isinstance(e.value, Message)]
    return bool(entries(config, "feature_config")) or any(
        entries(f, "feature_type") for f in features
    )


def translated(config: Message, notes: Notes) -> Message:
    """The TorchEasyRec config of the same meaning; raises RecipeError (GR131) for other models."""
    config = expanded(config)
    model = nested(config, "model_config")
    if model is None:
        raise RecipeError(
            Problem("GR131", "no model_config: this is no config of a model", config.span)
        )
    evaluation, data = nested(config, "eval_config"), nested(config, "data_config")
    metrics = entries(evaluation, "metrics_set") if evaluation is not None else []
    parts = rest(
        config, ("feature_config", "feature_configs", "model_config", "train_config", "data_config")
    )
    parts = [_without_metrics(entry) if entry.name == "eval_config" else entry for entry in parts]
    parts += feature_messages(config, history_names(config))
    place = entries(config, "model_config")[-1].span
    parts.append(Entry("model_config", _model_config(model, metrics, notes), place))
    if data is not None:
        parts.append(Entry("data_config", data_message(data), data.span))
    train = nested(config, "train_config")
    if train is not None:
        parts.append(Entry("train_config", train_message(train, data, notes), train.span))
    return message(parts, config.span)


def _without_metrics(entry: Entry) -> Entry:
    assert isinstance(entry.value, Message)
    return Entry(entry.name, message(rest(entry.value, ("metrics_set",)), entry.span), entry.span)


def _model_config(source: Message, metrics: list[Entry], notes: Notes) -> Message:
    written = text(source, "model_class")
    if written not in _MODELS or entries(source, "backbone"):
        named = entries(source, "backbone") or entries(source, "model_class")
        what = f"model_class {written or 'is missing'}"
        what += " with a backbone has no counterpart" if entries(source, "backbone") else ""
        what += "" if entries(source, "backbone") else " has no counterpart"
        help = f"classes that can be imported: {', '.join(sorted(_MODELS))}"
        place = named[-1].span if named else source.span
        raise RecipeError(Problem("GR131", what, place, help=help))
    old, new, names = _MODELS[written]
    inner = nested(source, old) or message([], source.span)
    if new == "multi_tower" and entries(inner, "din_towers"):
        new = "multi_tower_din"
    read = {
        text(e.value, "input") for e in entries(inner, "din_towers") if isinstance(e.value, Message)
    }
    known = ("model_class", "model_name", old, "feature_groups", "seq_att_groups")
    parts = rest(source, (*known, "loss_type", "losses"))
    parts += group_messages(source, read)
    if written not in _MULTITASK:
        parts += [*loss_entries(source, notes), *metric_entries(metrics)]
    parts.append(Entry(new, _model(inner, new, names, metrics, notes), inner.span))
    return message(parts, source.span)


def _model(
    source: Message, kind: str, names: Mapping[str, str], metrics: list[Entry], notes: Notes
) -> Message:
    parts: list[Entry] = []
    for entry in renamed(source, names):
        inner, span = entry.value, entry.span
        if not isinstance(inner, Message):
            parts.append(entry)
        elif entry.name == "task_towers":
            parts.append(Entry(entry.name, task_tower(inner, notes, metrics), span))
        elif entry.name == "din_towers":
            parts += _attended(inner, entry)
        elif entry.name == "extraction_networks":
            parts.append(Entry(entry.name, _perceptrons(inner, _NETS), span))
        elif entries(inner, "hidden_units"):
            parts.append(Entry(entry.name, perceptron_message(inner), span))
        else:
            parts.append(Entry(entry.name, _perceptrons(inner, {"dnn": "mlp"}), span))
    if kind in ("mmoe", "dbmtl"):
        parts = _experts(source, parts, notes)
    return message(parts, source.span)


def _perceptrons(source: Message, names: Mapping[str, str]) -> Message:
    """A message whose perceptrons are under these names."""
    parts = []
    for entry in source.entries:
        inner = entry.value
        if entry.name in names and isinstance(inner, Message):
            inner = perceptron_message(inner)
        parts.append(Entry(names.get(entry.name, entry.name), inner, entry.span))
    return message(parts, source.span)


def _attended(tower: Message, entry: Entry) -> list[Entry]:
    """A `din_towers` message, and its query as a tower without layers beside it."""
    name, span = text(tower, "input"), entry.span
    mlp = Entry("attn_mlp", attention_mlp(nested(tower, "dnn"), span), span)
    query = message([Entry("input", f"{name}_query", span)], span)
    return [
        Entry("din_towers", message([*rest(tower, ("dnn",)), mlp], span), span),
        Entry("towers", query, span),
    ]


def _experts(source: Message, parts: list[Entry], notes: Notes) -> list[Entry]:
    """`experts { dnn }` each by itself are so many of the first; none are asked for by 0."""
    alone = [e.value for e in entries(source, "experts") if isinstance(e.value, Message)]
    nets = [net for net in (nested(expert, "dnn") for expert in alone) if net is not None]
    if nets:
        place = entries(source, "experts")[0].span
        widths = [[e.value for e in entries(net, "hidden_units")] for net in nets]
        if any(width != widths[0] for width in widths):
            notes.add(place, "experts of different layers have no counterpart: all as the first")
        parts = [entry for entry in parts if entry.name not in ("experts", "num_expert")]
        parts.append(Entry("expert_mlp", perceptron_message(nets[0]), place))
        return [*parts, Entry("num_expert", len(nets), place)]
    if not value(source, "num_expert") and entries(source, "expert_dnn"):
        place = entries(source, "expert_dnn")[-1].span
        notes.add(place, "expert_dnn without num_expert makes no experts there, and none here")
        return [entry for entry in parts if entry.name not in ("expert_mlp", "num_expert")]
    return parts
